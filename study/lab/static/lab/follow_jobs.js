/* Shows how far the jobs on this page are, and loads the page once more when one of them is over.

   A job is any element with data-job (its key) and data-states (where to ask); without data-over it is followed. What
   it shows of the job, it or something in it names: data-job-bar, data-job-message, data-job-line, data-job-tail,
   data-job-log, data-job-cancel. All jobs of a page are asked for at once. */

const EVERY_MS = 2000;
const MOST_MS = 30000;

let followed = [...document.querySelectorAll("[data-job]:not([data-over])")];
let wait = EVERY_MS;
let ended = false;
let edited = false;

const show = (element, job) => {
  const part = (name) => {
    const selector = `[data-job-${name}]`;
    return element.matches(selector) ? element : element.querySelector(selector);
  };
  const write = (name, text) => {
    const found = part(name);
    if (found && found.textContent !== text) found.textContent = text;
  };
  const bar = part("bar");
  if (bar) bar.value = job.fraction;
  write("message", job.message);
  write("line", job.line);
  write("tail", job.log);
  if (part("log")) part("log").hidden = !job.log;
  if (part("cancel")) part("cancel").disabled = !job.may_be_cancelled;
};

const look = async () => {
  const address = new URL(followed[0].dataset.states, location.href);
  for (const key of new Set(followed.map((element) => element.dataset.job))) address.searchParams.append("job", key);
  const answer = await fetch(address, { headers: { Accept: "application/json" }, redirect: "error" });
  if (!answer.ok) throw new Error(`${address.pathname} answered ${answer.status}.`);
  const jobs = await answer.json();
  for (const element of followed) {
    const job = jobs[element.dataset.job];
    if (job) show(element, job);
  }
  ended ||= Object.values(jobs).some((job) => job.over);
  followed = followed.filter((element) => jobs[element.dataset.job]?.over === false);
};

/* What somebody is writing or marking must not be lost: then the page stays as it is until it is left alone. */
const isInUse = () =>
  edited || !getSelection().isCollapsed || document.querySelector("#changelist-form input:checked") !== null;

const follow = async () => {
  if (followed.length > 0 && !document.hidden) {
    try {
      await look();
      wait = EVERY_MS;
    } catch {
      wait = Math.min(2 * wait, MOST_MS); // the server is away, or this browser no longer signed in
    }
  }
  if (ended && !isInUse()) location.reload();
  else if (ended || followed.length > 0) setTimeout(follow, wait);
};

if (followed.length > 0) {
  document.addEventListener("input", () => (edited = true));
  setTimeout(follow, EVERY_MS);
}
