"use strict";
// Keys and zoom; without this file the forms work all the same.
(() => {
  const form = document.getElementById("vote");
  const fieldsets = form ? [...form.querySelectorAll("fieldset")] : [];
  const chosen = (fieldset) => fieldset.querySelector("input:checked");

  function show(current) {
    for (const fieldset of fieldsets) fieldset.classList.toggle("current", fieldset === current);
  }

  function current() {
    return fieldsets.find((fieldset) => fieldset.classList.contains("current")) ?? fieldsets.at(-1);
  }

  function answer(place) {
    const fieldset = current();
    fieldset.querySelectorAll("input")[place].checked = true;
    show(fieldsets[Math.min(fieldsets.indexOf(fieldset) + 1, fieldsets.length - 1)]);
    current().scrollIntoView({ block: "nearest" });
  }

  if (form) {
    show(fieldsets.find((fieldset) => !chosen(fieldset)) ?? fieldsets.at(-1));
    form.addEventListener("change", () => show(fieldsets.find((fieldset) => !chosen(fieldset)) ?? fieldsets.at(-1)));
    // once: a second press of Enter sends nothing. The server would know the form again, too.
    let sent = false;
    form.addEventListener("submit", (event) => {
      if (sent) event.preventDefault();
      sent = true;
    });
    window.addEventListener("pageshow", () => { sent = false; });
  }

  const pair = document.querySelector(".pair");
  const button = document.querySelector("[data-zoom]");
  const frames = pair ? [...pair.querySelectorAll(".frame")] : [];

  function zoom(on) {
    pair.classList.toggle("zoomed", on);
    button?.setAttribute("aria-pressed", String(on));
  }

  for (const frame of frames) {
    frame.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const box = frame.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      zoom(!pair.classList.contains("zoomed"));
      frame.scrollTo(x * (frame.scrollWidth - frame.clientWidth), y * (frame.scrollHeight - frame.clientHeight));
    });
    frame.addEventListener("scroll", () => {
      for (const other of frames) if (other !== frame) other.scrollTo(frame.scrollLeft, frame.scrollTop);
    });
  }
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => zoom(!pair.classList.contains("zoomed")));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const on = (selector) => event.target instanceof Element && event.target.closest(selector);
    const place = ["1", "2", "3"].indexOf(event.key);
    if (form && place >= 0) {
      answer(place);
    } else if (event.key === "Enter" && !on("a, button")) {
      event.preventDefault();
      if (form) form.requestSubmit();
      else document.querySelector("[data-enter]")?.click();
    } else if (event.key === "Backspace" || (event.key === "ArrowLeft" && !on("input, .frame"))) {
      event.preventDefault();
      document.querySelector("[data-back]")?.click();
    } else if (pair && event.key.toLowerCase() === "z") {
      zoom(!pair.classList.contains("zoomed"));
    } else if (pair && event.key === "Escape") {
      zoom(false);
    } else {
      return;
    }
    event.preventDefault();
  });
})();
