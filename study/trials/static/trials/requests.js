"use strict";

/** Requests to the server of a run, and patience where it cannot be reached. */
const Requests = (() => {
  const TIMEOUT_MS = 15_000;
  const FIRST_PAUSE_MS = 500;
  const LONGEST_PAUSE_MS = 15_000;

  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  /** One request, `content` as JSON: {status, body}, status 0 when there was no proper answer. */
  async function send(address, method, content, options = {}) {
    const headers = { "Content-Type": "application/json" };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const body = JSON.stringify(content);
    try {
      const response = await fetch(address, { method, headers, body, signal, cache: "no-store", ...options });
      return { status: response.status, body: await response.json() };
    } catch {
      return { status: 0, body: null }; // no connection, too slow, or not an answer of ours
    }
  }

  /** ms: twice as long after each failure, up to a limit, and by a random half so that clients do not return in step. */
  function pause(failures, longest = LONGEST_PAUSE_MS) {
    return Math.min(longest, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
  }

  /** Asks until the status is a final one; `onFailure` hears how often it was not. Goes on at once when back online. */
  async function persist(ask, isFinal, onFailure = () => {}) {
    for (let failures = 1; ; failures += 1) {
      const answer = await ask();
      if (isFinal(answer.status)) return answer;
      onFailure(failures);
      const listening = new AbortController();
      const online = new Promise((resolve) => window.addEventListener("online", resolve, { signal: listening.signal }));
      await Promise.race([online, delay(pause(failures))]);
      listening.abort();
    }
  }

  return { send, pause, persist };
})();
