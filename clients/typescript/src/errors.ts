/**
 * Every error of this package. Its `name` tells the kind, also where `instanceof` cannot (two copies of it).
 *
 * RestiveError
 * ├── UsageError            a call that cannot work; the message says what to write instead
 * ├── Unreachable           no transport delivered anything; `cause` says why
 * ├── Closed                the client was closed meanwhile
 * ├── WatchEnded            the server ended a watch or a stream; carries the problem
 * ├── RequestRefused        the server refused a request about an operation; carries the problem
 * ├── OperationFailed       the operation ended as failed; carries the problem
 * ├── OperationCanceled     the operation ended as canceled
 * └── OutcomeUnknown        a request was lost with its connection, and may have been served
 */
import type { Problem } from "./wire/frames.js";

export type { Problem };

/** The root of all errors of this package. */
export class RestiveError extends Error {
  override name = "RestiveError";
}

/** A call that cannot work; the message says what to write instead. */
export class UsageError extends RestiveError {
  override name = "UsageError";
}

/** No transport delivered anything; `cause` is what went wrong last. */
export class Unreachable extends RestiveError {
  override name = "Unreachable";
}

/** The client was closed while this went on. */
export class Closed extends RestiveError {
  override name = "Closed";
}

class ProblemError extends RestiveError {
  /** What the server said (RFC 9457): `status`, `title`, `detail` and further members. */
  readonly problem: Problem;
  constructor(problem: Problem) {
    // An app's own errors may hold anything under these names, such as FastAPI's list of what is invalid.
    const said = [problem.status, problem.title, problem.detail];
    super(said.filter((part) => part && typeof part !== "object").join(" "));
    this.problem = problem;
  }
}

/** The server ended the watch, or the stream. `problem` tells why (404, 401, 403, …). */
export class WatchEnded extends ProblemError {
  override name = "WatchEnded";
}

/** The server refused a request about an operation. `problem` tells why (404, 410, 403, …). */
export class RequestRefused extends ProblemError {
  override name = "RequestRefused";
}

/** The operation ended as `failed`. `problem` is its `error`. */
export class OperationFailed extends ProblemError {
  override name = "OperationFailed";
}

/** The operation ended as `canceled`. */
export class OperationCanceled extends RestiveError {
  override name = "OperationCanceled";
}

/** The connection was lost behind a request that must not be repeated: it may have been served, or not. */
export class OutcomeUnknown extends RestiveError {
  override name = "OutcomeUnknown";
}
