/**
 * What comes of an attempt: news is shown, compared or fetched, a failure brings the next attempt.
 *
 * A state equal to the last one is never shown; what was announced and not delivered is fetched; where two
 * transports disagree, a plain GET decides.
 */

import type { Problem } from "../wire/frames.js";
import { type Attempt, type End, type Watched, attempts, attempt as newAttempt, wait } from "./attempt.js";
import { type Carriers, leave } from "./carrier.js";
import { delivered, jitter, nextRung, trialFailed } from "./ladder.js";
import { type Failure, type News, failure } from "./news.js";
import { goOn } from "./pace.js";
import { type State, same, sameTag } from "./state.js";

// -- news ------------------------------------------------------------------------------------

/** `attempt` was told something; it goes on until it is `due`. */
export function heed(m: Carriers, attempt: Attempt, news: News, due: number): void {
  const { _watch: watch } = attempt;
  const end = news.is === "ended";
  const socket = attempt._transport === "websocket";
  if (watch._over) return;
  if (attempt === watch._fetch) {
    fetched(m, attempt, news);
    return;
  }
  if (end && !socket) leave(m, attempt, true);
  const tag = tagOf(news);
  if (news.is === "snapshot" && isPlainPoll(attempt) && (!tag || sameTag(tag, attempt._etag))) {
    // A long poll that answers at once with what the client has is not one.
    show(m, watch, news.state);
    leave(m, attempt);
    fail(m, attempt, failure("refused"));
    return;
  }
  const asking = attempt._phase === "asking";
  // Whether other transports, or a fetch, have shown what this attempt may be telling late.
  if (asking && attempt._shown !== watch._shown) attempt._behind = true;
  if (!end) {
    attempt._told = tag;
    if (sameTag(tag, watch._etag)) attempt._behind = false;
  }
  works(m, attempt);
  // On the socket an end may have been said to another watch of this target, which had the state.
  judge(m, attempt, news, asking && socket);
  if (end) wait(attempt, Infinity);
  else goOn(attempt, due);
  if (end || isFinal(news)) {
    if (watch._fetch) watch._ending = true;
    else finish(m, watch, null);
  }
}

/** `attempt` delivered something: it goes on for its watch. */
function works(m: Carriers, attempt: Attempt): void {
  const watch = attempt._watch;
  if (attempt === watch._trial) {
    const old = watch._main;
    watch._main = attempt;
    watch._trial = null;
    leave(m, old);
  }
  attempt._delivered ||= m._now;
  attempt._unheard = 0;
  watch._ever = true;
  delivered(m, watch, attempt._transport);
}

/** Show the state, or fetch what decides; end the watch with its problem. */
function judge(m: Carriers, attempt: Attempt, news: News, overheard: boolean): void {
  const { _watch: watch, _behind: behind } = attempt;
  if (news.is === "snapshot") {
    // Older than what was shown, or newer?
    if (behind && !has(watch, news.state)) startFetch(m, watch);
    else show(m, watch, news.state);
  } else if (news.is === "announced") {
    startFetch(m, watch, news.etag);
  } else if (news.is === "unchanged") {
    const { etag } = news;
    // A long poll does not tell that a state became final.
    const ask = isPlainPoll(attempt) && watch._checkAt <= m._now;
    if (ask || (etag && !sameTag(etag, watch._etag))) startFetch(m, watch);
  } else if (news.problem) {
    finish(m, watch, ended(news.problem));
  } else if (behind || overheard) {
    startFetch(m, watch);
  }
}

function startFetch(m: Carriers, watch: Watched, announced?: string | null): void {
  const coarse = sameTag(announced, watch._etag);
  const fetch = watch._fetch;
  if (fetch) {
    fetch._repeat = true;
    fetch._coarse ||= coarse;
  } else watch._fetch = newAttempt(watch, "poll", m._now, false, coarse);
}

function fetched(m: Carriers, attempt: Attempt, news: News): void {
  const watch = attempt._watch;
  watch._fetch = null;
  if (news.is === "ended" && news.problem) {
    finish(m, watch, ended(news.problem));
    return;
  }
  // A state that came after the GET was asked may be newer; if it is not, this one is announced again,
  // unless it is the last one.
  const stale = attempt._shown !== watch._shown;
  const final = watch._ending || isFinal(news);
  if (!stale) {
    if (news.is === "snapshot") show(m, watch, { ...news.state, fetch: true });
    watch._checkAt = m._now + m._policy.wait / 2;
    for (const other of attempts(watch)) other._behind = !sameTag(other._told, watch._etag);
  }
  if (attempt._repeat || (stale && final)) {
    watch._fetch = newAttempt(watch, "poll", m._now, false, attempt._coarse);
  } else if (final) finish(m, watch, null);
}

function show(m: Carriers, watch: Watched, state: State): void {
  if (!has(watch, state)) {
    watch._etag = state.etag;
    watch._shown++;
    watch._checkAt = 0;
    m._out.push({ do: "show", key: watch._key, state });
  }
  watch._last = state;
}

// -- failures --------------------------------------------------------------------------------

/** `attempt` came to nothing. `rest`: when its transport may be used again, where that is so for all. */
export function fail(m: Carriers, attempt: Attempt, failure: Failure, rest?: number): void {
  const { _watch: watch } = attempt;
  if (watch._over) return;
  if (attempt === watch._trial) {
    watch._trial = null;
    trialFailed(m, watch, attempt._transport, failure.kind);
  } else if (attempt === watch._fetch) {
    wait(attempt, m._now + (failure.again ?? 0) + jitter(m, attempt._failures++));
  } else if (watch._ending) wait(attempt, Infinity);
  else replaceMain(m, attempt, failure, rest);
}

function replaceMain(m: Carriers, attempt: Attempt, failure: Failure, rest?: number): void {
  const { _watch: watch, _delivered: since } = attempt;
  const { kind, cause } = failure;
  if (since && m._now - since >= m._policy.stable) watch._failures = 0;
  if (kind === "misfit" && !watch._want.rungs[1]) {
    finish(m, watch, ended(cause as Problem));
  } else if (!watch._ever && m._now - watch._started >= m._policy.connectWithin) {
    finish(m, watch, { code: "unreachable", cause });
  } else {
    const [transport, pause] = nextRung(m, attempt, failure);
    const until = (transport === attempt._transport && rest) || m._now + pause;
    // What is slow beside others has a request of its own the next time.
    watch._main = newAttempt(watch, transport, until, kind === "slow");
  }
}

// -- the end ---------------------------------------------------------------------------------

/** The watch is over: with an error, or since its last state is final. */
function finish(m: Carriers, watch: Watched, error: End | null): void {
  if (watch._over) return;
  forget(m, watch);
  m._out.push({ do: "finish", key: watch._key, error });
}

/** Nobody wants the watch any more. */
export function forget(m: Carriers, watch: Watched): void {
  m._watches.delete(watch._key);
  watch._over = true;
  for (const attempt of attempts(watch)) leave(m, attempt);
}

const ended = (problem: Problem): End => ({ code: "ended", problem });

const isFinal = (news: News): boolean => "final" in news && news.final;

const tagOf = (news: News): string | null =>
  news.is === "snapshot" ? news.state.etag : news.is === "ended" ? null : news.etag;

/** Whether it is a long poll of one resource at its own URI. */
const isPlainPoll = ({ _transport, _carrier }: Attempt): boolean =>
  _transport === "long-poll" && !_carrier?._many;

/** Whether the user has it: what was shown last, or what the user said to have. */
const has = (watch: Watched, state: State): boolean =>
  watch._last ? same(watch._last, state) : sameTag(state.etag, watch._etag);
