// The conformance suite of the Durable Streams protocol, against the server that STREAMS_URL names.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({ baseUrl: process.env.STREAMS_URL, longPollTimeoutMs: 5_000 })
