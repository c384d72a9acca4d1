/** One state of a watched resource, and when two of them are the same. */

/** One state of a watched resource. */
export interface State<T = unknown> {
  /** Decoded JSON, a string for other text, a `Uint8Array` for anything else, null for an empty one. */
  readonly data: T;
  /** The entity tag as in the header: give it to `watch(url, { etag })` to resume later. */
  readonly etag: string | null;
  /** The text, where it is text and not JSON. */
  readonly text: string | null;
  /** The client fetched it by a GET of its own, since it was announced without its content. */
  readonly fetch: boolean;
}

/** Weak comparison (RFC 9110 8.8.3.2); no tag is like no other. */
export const sameTag = (a: string | null | undefined, b: string | null | undefined): boolean =>
  !!a && opaque(a) === opaque(b);

/** Equal tag and equal content: tags of apps can be coarse, so that the tag alone does not decide. */
export const same = (a: State, b: State): boolean =>
  (!a.etag || !b.etag || sameTag(a.etag, b.etag)) && JSON.stringify(a.data) === JSON.stringify(b.data);

const opaque = (tag: string | null | undefined): string | undefined => tag?.replace(/^W\//, "");
