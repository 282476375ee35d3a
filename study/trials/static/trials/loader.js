"use strict";

/**
 * Fetches the images of a run while screens of text are read, so that no trial waits for the network or shares it.
 *
 * At most six requests in flight, in the order in which the images are needed, none while the loader is paused. 15 s
 * and three more tries for each; then it says that there is trouble and goes on trying, unless the server refuses. The
 * SHA-256 of the bytes is compared with the Repr-Digest header where the browser offers crypto.subtle (secure contexts
 * and localhost). Images are kept as decoded bitmaps until their trial is over.
 */
const ImageLoader = (() => {
  const IN_FLIGHT = 6;
  const TIMEOUT_MS = 15_000;
  const RETRIES = 3;
  const LONGEST_PAUSE_MS = 4_000;
  const FINAL = [403, 404, 410]; // these images will not come, however often one asks

  /** An image that did not arrive. `final`: asking again is no use; `status` says why. */
  class ImageError extends Error {
    constructor(name, status) {
      super(`image ${name}: status ${status}`);
      this.status = status;
      this.final = FINAL.includes(status);
    }
  }

  /** Lets so many tasks run at a time, in the order in which they came; none begins while it is paused. */
  class Gate {
    constructor(places) {
      this.places = places;
      this.running = 0;
      this.waiting = [];
      this.paused = true;
    }

    /** What `task` resolves to, once it had its turn. `first`: before all that wait. */
    async pass(task, first) {
      await new Promise((enter) => {
        if (first) this.waiting.unshift(enter);
        else this.waiting.push(enter);
        this.admit();
      });
      try {
        return await task();
      } finally {
        this.running -= 1;
        this.admit();
        if (!this.running) this.empty?.();
      }
    }

    admit() {
      while (!this.paused && this.waiting.length && this.running < this.places) {
        this.running += 1;
        this.waiting.shift()();
      }
    }

    open() {
      this.paused = false;
      this.admit();
    }

    /** Lets nothing in until it is opened again; resolves when nothing runs any more. */
    async close() {
      this.paused = true;
      while (this.running) await new Promise((resolve) => (this.empty = resolve));
    }
  }

  class ImageLoader {
    /**
     * @param {string} base address of the run, ending in a slash
     * @param {object} plan the server's plan: `sides`, `frames`, and `trials` with their `candidates`
     * @param {() => void} onChange after every image that arrived, or that is in trouble
     */
    constructor(base, { sides, frames, trials }, onChange = () => {}) {
      this.base = base;
      this.sides = sides;
      this.frames = frames;
      this.candidates = new Map(trials.map(({ index, candidates = 1 }) => [index, candidates]));
      this.onChange = onChange;
      this.gate = new Gate(IN_FLIGHT);
      this.bitmaps = new Map();
      this.pending = new Map();
      this.troubled = new Set();
    }

    /** Whether an image has failed to arrive in spite of all tries, so far. */
    get failing() {
      return this.troubled.size > 0;
    }

    /** Fetches what was asked for, until `pause`. */
    resume() {
      this.gate.open();
    }

    /** Resolves when nothing is in flight; nothing will be until `resume`. */
    pause() {
      return this.gate.close();
    }

    /**
     * Resolves when all images of these trials are there. What is asked for first comes first, unless `urgent`.
     * Throws an ImageError when the server refuses one.
     */
    load(indices, { urgent = false } = {}) {
      const names = this.names(indices);
      if (urgent) names.reverse(); // each is put before the others
      return Promise.all(names.map((name) => this.fetchOnce(name, urgent)));
    }

    /** How many of the images of these trials are there: {loaded, total}. */
    count(indices) {
      const names = this.names(indices);
      return { loaded: names.filter((name) => this.bitmaps.has(name)).length, total: names.length };
    }

    /** The bitmaps of a trial: {left: [one for each frame], right: the same}. */
    images(index, candidate = 0) {
      const [from, to] = [candidate * this.frames, (candidate + 1) * this.frames];
      const frames = (side) => this.sideNames(index, side).slice(from, to).map((name) => this.bitmaps.get(name));
      return Object.fromEntries(this.sides.map((side) => [side, frames(side)]));
    }

    /** Frees the memory of a trial's bitmaps. */
    release(index) {
      for (const name of this.names([index])) {
        this.bitmaps.get(name)?.close();
        this.bitmaps.delete(name);
      }
    }

    names(indices) {
      return indices.flatMap((index) => this.sides.flatMap((side) => this.sideNames(index, side)));
    }

    sideNames(index, side) {
      const length = this.candidates.get(index) * this.frames;
      return Array.from({ length }, (_, n) => (n ? `${index}/${side}/${n}` : `${index}/${side}`));
    }

    fetchOnce(name, urgent) {
      if (this.bitmaps.has(name)) return null;
      if (!this.pending.has(name)) {
        const arrival = this.fetchPatiently(name, urgent).finally(() => this.pending.delete(name));
        this.pending.set(name, arrival);
      }
      return this.pending.get(name);
    }

    async fetchPatiently(name, urgent) {
      for (let failures = 0; ; failures += 1) {
        try {
          this.bitmaps.set(name, await this.gate.pass(() => this.fetch(name), urgent || failures > 0));
          this.troubled.delete(name);
          return this.onChange();
        } catch (error) {
          if (error.final) throw error;
          if (failures >= RETRIES) this.troubled.add(name);
          this.onChange();
        }
        await new Promise((resolve) => setTimeout(resolve, Requests.pause(failures + 1, LONGEST_PAUSE_MS)));
      }
    }

    async fetch(name) {
      const response = await fetch(`${this.base}i/${name}`, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) throw new ImageError(name, response.status);
      const blob = await response.blob();
      await verify(blob, response.headers.get("Repr-Digest"), name);
      return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    }
  }

  /** Throws when the bytes are not those the server sent. */
  async function verify(blob, header, name) {
    const expected = header?.match(/sha-256=:([^:]+):/)?.[1];
    if (!expected || !globalThis.crypto?.subtle) return;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
    if (btoa(String.fromCharCode(...digest)) !== expected) throw new Error(`image ${name}: damaged on the way`);
  }

  return ImageLoader;
})();
