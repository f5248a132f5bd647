// Keeps the page of a running build up to date. Everything it inserts was
// rendered, and escaped, by the server.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main) return;
  const state = document.getElementById("state");
  const log = document.getElementById("log");
  const skew = Date.now() - Number(main.dataset.now);
  const mostLines = 5000;

  const elapsed = (ms) => {
    const s = Math.max(0, ms) / 1000;
    if (s < 60) return (s < 9.95 ? s.toFixed(1) : Math.round(s)) + " s";
    const min = Math.floor(s / 60);
    return min < 60 ? `${min} min ${Math.floor(s % 60)} s` : `${Math.floor(min / 60)} h ${min % 60} min`;
  };
  const tick = () => {
    for (const e of document.querySelectorAll("[data-since]")) {
      e.textContent = elapsed(Date.now() - skew - Number(e.dataset.since));
    }
  };
  const ticking = setInterval(tick, 500);

  const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;

  const append = (html) => {
    const follow = atEnd() && window.scrollY > 0;
    const part = document.createElement("template");
    part.innerHTML = html;
    // After a reconnection the first lines name their section once more.
    const first = part.content.querySelector(".section");
    const headings = log.querySelectorAll(".section");
    const last = headings[headings.length - 1];
    if (first && last && first.textContent === last.textContent) first.remove();
    for (const line of part.content.querySelectorAll(".line")) {
      if (document.getElementById(line.id)) line.remove();
    }
    log.append(part.content);
    document.getElementById("log-empty")?.remove();
    while (log.childElementCount > mostLines) log.firstElementChild.remove();
    if (follow) window.scrollTo(0, document.documentElement.scrollHeight);
  };

  const show = (html) => {
    const open = [...state.querySelectorAll("details")].map((d) => d.open);
    state.innerHTML = html;
    state.querySelectorAll("details").forEach((d, i) => { if (i in open) d.open = open[i]; });
    const title = state.querySelector("[data-title]");
    if (title) document.title = title.dataset.title;
    tick();
  };

  const source = new EventSource(main.dataset.live);
  source.addEventListener("log", (e) => append(e.data));
  source.addEventListener("state", (e) => show(e.data));
  source.addEventListener("end", () => {
    source.close();
    clearInterval(ticking);
    main.removeAttribute("data-live");
    document.querySelector(".live")?.remove();
  });
  // The browser reconnects by itself, except after a refusal.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000);
  });
})();
