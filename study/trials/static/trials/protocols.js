"use strict";

/**
 * The five ways to ask about a pair: where pictures are, and in which order they are shown there.
 *
 * | afc     | two places: which one?                    | flicker | two places, one of which alternates: which one? |
 * | ifc     | one place, one picture after the other     | oddity  | two pairs, one above the other: which differs?   |
 * | yes_no  | one picture: altered or not?               |         |                                                  |
 *
 * Places stand in `columns` and `rows`; each holds pictures and belongs to a side, or to none. `intervals` lists, per
 * exposure, the numbers of the pictures that alternate in it, the same at all places.
 */
const Protocols = (() => {
  const SIDES = ["left", "right"];
  const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "unsure" };
  const SHORTEST_PHASE_MS = 1000 / 6; // two phases are one flash: at most three a second (WCAG 2.3.1)
  const CLOCK_MS = 0.2; // the resolution of frame timestamps

  const aside = (images) => SIDES.map((side) => ({ side, pictures: images[side] }));
  const still = { columns: 2, rows: 1, keys: ARROWS, places: aside, intervals: [[0]] };

  const PROTOCOLS = {
    afc: still,
    flicker: { ...still, intervals: [[0, 1]] },
    oddity: {
      ...still,
      rows: 2,
      places: (images) => [0, 1].flatMap((row) => SIDES.map((side) => ({ side, pictures: [images[side][row]] }))),
    },
    ifc: {
      ...still,
      columns: 1,
      keys: { ...ARROWS, 1: "left", 2: "right" },
      places: ({ left, right }) => [{ side: null, pictures: [left[0], right[0]] }],
      intervals: [[0], [1]],
    },
    yes_no: { ...still, columns: 1, places: ({ left }) => [{ side: null, pictures: left }] },
  };

  /** One exposure of so many ms: a step for each picture in turn. */
  function* exposure(pictures, ms, flicker_ms) {
    const phase = pictures.length > 1 ? Math.max(flicker_ms, SHORTEST_PHASE_MS) : ms;
    for (let n = 0, left = ms; left > 0; n += 1, left -= phase) {
      const last = left <= phase; // a blank follows, not the other picture
      const least = last ? 0 : SHORTEST_PHASE_MS - CLOCK_MS;
      yield { state: "shown", picture: pictures[n % pictures.length], ms: Math.min(phase, left), least };
    }
  }

  /**
   * From the fixation to the end of the response window, in steps of {state, picture, ms, least, asks}: shown for
   * the whole frames nearest to `ms`, never shorter than `least`; `asks`: an answer counts. Without a fixed exposure
   * the pictures stay until the answer; with one, answers count from its end, and so does the response window.
   */
  function* sequence({ intervals }, { fixation_ms, exposure_ms, mask_ms, gap_ms, flicker_ms, response_ms }) {
    const fixed = exposure_ms !== null;
    const answering = response_ms ?? Infinity;
    yield { state: "fixation", ms: fixation_ms };
    for (const [n, pictures] of intervals.entries()) {
      const last = n === intervals.length - 1;
      if (n > 0) yield { state: "gap", ms: gap_ms };
      for (const step of exposure(pictures, fixed ? exposure_ms : answering, flicker_ms)) {
        yield { ...step, asks: last && !fixed };
      }
      if (fixed && mask_ms > 0) yield { state: "masked", picture: "mask", ms: mask_ms, asks: last };
    }
    if (fixed) yield { state: "asked", ms: Math.max(0, answering - mask_ms), asks: true };
  }

  /** The pictures once more, without end, beside the explanation of a practice trial. */
  function* again({ intervals }, { flicker_ms }) {
    for (const step of exposure(intervals[0], Infinity, flicker_ms)) yield { ...step, state: "explained" };
  }

  return { ...PROTOCOLS, sequence, again };
})();
