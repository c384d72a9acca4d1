// What every build has in common: names that begin with _ are nobody's business outside, and become short.
export const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  mangleProps: /^_/,
  logLevel: "warning",
};
