"use client";
/** `restive/react`: the client as hooks. A page's own server needs nothing else; `LiveProvider` names another one. */
export { LiveProvider } from "./react/provider.js";
export type { LiveProviderProps } from "./react/provider.js";
export { useLive } from "./react/live.js";
export type { LiveView, UseLiveOptions } from "./react/live.js";
export { useOperation } from "./react/operation.js";
export type { OperationView, StartOptions } from "./react/operation.js";
export { useStream } from "./react/stream.js";
export type { StreamView, UseStreamOptions } from "./react/stream.js";
