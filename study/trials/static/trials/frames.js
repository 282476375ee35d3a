"use strict";

/** The frames of one trial: waiting in whole ones, and counting those that the browser missed. */
const FrameClock = (() => {
  const USUAL_MS = 1000 / 60; // until the first frames have been measured

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  class FrameClock {
    /** @param {AbortSignal} signal stops the clock for good; what waits for it then never goes on */
    constructor(signal) {
      this.signal = signal;
      this.now = performance.now();
      this.last = null;
      this.intervals = [];
      this.shortest = USUAL_MS; // the screen's frame: the median of the first few may be a busy machine's
      this.marked = 0;
      this.waiting = [];
      requestAnimationFrame((now) => this.tick(now));
    }

    tick(now) {
      if (this.signal.aborted) return;
      if (this.last !== null) {
        this.intervals.push(now - this.last);
        this.shortest = Math.min(this.shortest, now - this.last);
      }
      this.last = this.now = now;
      for (const resolve of this.waiting.splice(0)) resolve(now);
      requestAnimationFrame((later) => this.tick(later));
    }

    /** The timestamp of the next frame, before it is painted; what the one before painted is on the screen by then. */
    next() {
      return new Promise((resolve) => this.waiting.push(resolve));
    }

    /**
     * Waits for the frame in which to replace what was `painted` then, so that it has been on the screen for the whole
     * frames nearest to `ms`, and for `least` ms in any case; or until `enough()`.
     */
    async pass(painted, { ms, least = 0 }, enough) {
      const end = painted + Math.max(ms - this.shortest / 2, least) - this.shortest; // one more until it is replaced
      while (this.now < end && !enough()) await this.next();
    }

    /** From here on frames are counted. */
    mark() {
      this.marked = this.intervals.length;
    }

    /** A hidden page gets no frames: the gap is a loss of focus, not a dropped frame. */
    skip() {
      this.last = null;
    }

    /** Since the mark: {frame_ms, frames, dropped_frames}; an interval of three frames has dropped two. */
    count() {
      const frame = median(this.intervals) ?? USUAL_MS;
      const counted = this.intervals.slice(this.marked);
      const dropped = counted.map((interval) => Math.max(0, Math.round(interval / frame) - 1));
      return { frame_ms: frame, frames: counted.length, dropped_frames: dropped.reduce((sum, n) => sum + n, 0) };
    }
  }

  return FrameClock;
})();
