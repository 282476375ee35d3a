"use strict";

/* Loads the page again and again while jobs are under way, unless somebody is using it. */
{
  const EVERY_MS = 5000;
  const MESSAGE_READ_MS = 15000;

  const isInUse = () =>
    document.hidden ||
    !getSelection().isCollapsed ||
    document.querySelector("#changelist-form input:checked, fieldset details[open]") !== null ||
    document.activeElement?.matches("select, input, button") === true;

  const look = () => {
    if (!isInUse()) location.reload();
  };

  const first = document.querySelector(".messagelist") === null ? EVERY_MS : MESSAGE_READ_MS;
  setTimeout(() => {
    look();
    setInterval(look, EVERY_MS);
  }, first);
}
