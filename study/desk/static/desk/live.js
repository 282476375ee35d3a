/* Brings the figures of the element with data-live up to date, from the address that it names, while somebody looks.

   Says how old they are in the element with data-live-age, and when the server cannot be reached. */

const EVERY_MS = 5000;
const WAITING_MS = 1000;
const MOST_MS = 60000;
const TIMEOUT_MS = 15000;

const place = document.querySelector("[data-live]");
const age = document.querySelector("[data-live-age]");

let countedAt = null;
let failures = 0;
let timer;

const read = () => {
  const counted = place.querySelector("[data-age]");
  if (counted) countedAt = performance.now() - 1000 * Number(counted.dataset.age);
};

const tell = () => {
  const seconds = countedAt === null ? null : Math.round((performance.now() - countedAt) / 1000);
  const words = seconds === null ? "" : `Counted ${seconds} s ago.`;
  age.textContent = failures ? `The server cannot be reached: trying again. ${words}` : words;
  age.classList.toggle("live-fault", failures > 0);
  age.hidden = !age.textContent;
};

/** Puts newer figures in the place of the old ones; what is scrolled or has the focus stays so. */
const show = (html) => {
  const counted = (root) => root.querySelector("[data-counted]")?.dataset.counted;
  const part = document.createElement("template");
  part.innerHTML = html;
  if (counted(part.content) && counted(part.content) === counted(place)) return;
  const regions = () => [...place.querySelectorAll("[tabindex], a")];
  const before = regions();
  const focus = before.indexOf(document.activeElement);
  const scrolled = before.map((region) => region.scrollLeft);
  place.replaceChildren(part.content);
  for (const [i, region] of regions().entries()) {
    if (scrolled[i]) region.scrollLeft = scrolled[i];
    if (i === focus) region.focus({ preventScroll: true });
  }
};

const look = async () => {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(place.dataset.live, { signal, redirect: "error", cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    show(await answer.text());
    failures = 0;
    read();
  } catch {
    failures += 1; // the server is away, or this browser is no longer signed in
  }
  tell();
};

const wait = () => {
  const soon = place.querySelector("[data-live-waiting]") ? WAITING_MS : EVERY_MS;
  return Math.min(soon * 2 ** Math.min(failures, 4), MOST_MS);
};

const keepLooking = async () => {
  clearTimeout(timer);
  if (document.hidden) return; // it goes on when somebody comes back
  await look();
  timer = setTimeout(keepLooking, wait());
};

document.addEventListener("visibilitychange", keepLooking);
setInterval(tell, 1000);
read();
tell();
timer = setTimeout(keepLooking, wait());
