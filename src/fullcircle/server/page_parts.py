"""The style and the script of the page ``/docs``. Their hashes stand in its Content-Security-Policy."""

from __future__ import annotations

STYLE = """
:root {
  --page: #f7f5f0; --card: #ffffff; --ink: #1f272b; --soft: #56616a; --line: #e3dfd5; --accent: #24595e;
  --on: #ffffff; --bad: #9c2226; --bad-bg: #fae4e2; --good: #1a6440; --code: #f1eee7; --info-bg: #e5eef7;
  --serif: ui-serif, "Iowan Old Style", Palatino, Georgia, "Noto Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181a; --card: #1c2225; --ink: #e9e6df; --soft: #a9b2b8; --line: #323a3f; --accent: #86c5c0;
    --on: #10201f; --bad: #ffa39b; --bad-bg: #40201f; --good: #86d6a8; --code: #272e32; --info-bg: #1b2f43;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 var(--sans); overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums;
}
main { max-width: 64rem; margin-inline: auto; padding: clamp(1.5rem, 5vw, 3.5rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font: 600 clamp(2rem, 6vw, 2.9rem)/1.1 var(--serif); letter-spacing: -.015em; margin: 0; }
h2 { font: 600 1.6rem/1.2 var(--serif); margin: 0; }
h3 { font-size: 1.06rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--accent); text-underline-offset: .18em; }
code { font: .88em var(--mono); }
.soft { color: var(--soft); }
.eyebrow {
  color: var(--soft); font-size: .82rem; letter-spacing: .08em; text-transform: uppercase; margin: 0 0 .5rem;
}
.lead { font-size: 1.1rem; }
.bad { color: var(--bad); background: var(--bad-bg); border-radius: .5rem; padding: .6rem .9rem; }
.note { background: var(--info-bg); border-radius: .5rem; padding: .6rem .9rem; max-width: none; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .8rem 0 0; padding: 0; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .75rem; margin-top: 1.6rem;
  padding: 1.3rem clamp(1rem, 3vw, 1.6rem) 1.5rem;
}
table { border-collapse: collapse; width: 100%; margin-top: .9rem; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1rem .5rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-size: .82rem; font-weight: 500; }
tbody th { font-weight: 500; }
td[data-is="Unit"], td[data-is="Type"] { overflow-wrap: break-word; }
td .soft, th .soft { display: block; font-weight: 400; font-size: .88rem; }
b { font-weight: 600; }
.tag { border: 1px solid currentColor; border-radius: 99px; padding: 0 .5em; font-size: .76rem; color: var(--soft); }
.code { margin-top: .8rem; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.code > div {
  display: flex; justify-content: space-between; align-items: center; padding: .25rem .4rem .25rem .8rem;
  font-size: .82rem; color: var(--soft); border-bottom: 1px solid var(--line);
}
pre {
  margin: 0; padding: .8rem; background: var(--code); font: .84rem/1.5 var(--mono); white-space: pre-wrap;
  max-height: 28rem; overflow: auto;
}
pre code { font: inherit; }
button {
  font: 600 .92rem var(--sans); color: var(--on); background: var(--accent); border: 1px solid var(--accent);
  border-radius: .45rem; padding: .5rem 1.1rem; cursor: pointer; min-height: 2.6rem;
}
button.second, button.copy { background: transparent; color: var(--accent); }
button.copy { padding: .15rem .7rem; min-height: 1.9rem; font-size: .82rem; }
button:disabled { opacity: .55; cursor: progress; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.try { margin-top: 1.4rem; }
.try label { display: block; font-weight: 650; margin-bottom: .4rem; }
textarea {
  width: 100%; resize: vertical; color: var(--ink); background: var(--code); border: 1px solid var(--line);
  border-radius: .5rem; padding: .8rem; font: .84rem/1.5 var(--mono);
}
.buttons { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin-top: .6rem; font-size: .88rem; }
output { display: block; margin-top: .9rem; }
output[hidden] { display: none; }
output pre { border-radius: .5rem; }
.status { font-weight: 650; color: var(--good); }
.status.failed { color: var(--bad); }
@media (max-width: 42rem) {
  .columns thead { display: none; }
  .columns tr { display: block; border-top: 1px solid var(--line); padding: .6rem 0; }
  .columns th, .columns td { display: block; border: 0; padding: .1rem 0; }
  .columns td:empty { display: none; }
  .columns td::before { content: attr(data-is) ": "; color: var(--soft); }
  .columns td .soft { display: inline; margin-left: .4em; }
  .columns td[data-is^="If"]::before { display: block; }
  .plain tr, .plain th, .plain td { display: block; }
  .plain td { border: 0; padding-top: 0; }
  .plain th { padding-bottom: .1rem; }
}
"""

SCRIPT = """
"use strict";
const at = document.body.dataset.at;
if (location.host && location.origin !== at)  // a proxy stands between, and this is no copy on a disk
  for (const code of document.querySelectorAll(".code code"))
    code.textContent = code.textContent.replaceAll(at, location.origin)
      .replaceAll(at.split("//")[1], location.host);
for (const button of document.querySelectorAll("button.copy"))
  button.addEventListener("click", async () => {
    const code = button.closest(".code").querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
for (const form of document.querySelectorAll("form.try"))
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.querySelector("output");
    const status = output.querySelector("p"), body = output.querySelector("pre");
    const action = event.submitter ? event.submitter.value : "predict";
    const buttons = form.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
      const begun = performance.now();
      const response = await fetch(`/${action}/${form.dataset.model}`, {
        method: "POST", headers: {"Content-Type": "application/json"}, body: form.querySelector("textarea").value,
      });
      const text = await response.text();
      status.textContent = `${response.status} ${response.statusText} in ${Math.round(performance.now() - begun)} ms`;
      status.classList.toggle("failed", !response.ok);
      try { body.textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { body.textContent = text; }
    } catch (error) {
      status.textContent = "The server did not answer.";
      status.classList.add("failed");
      body.textContent = String(error);
    } finally {
      for (const button of buttons) button.disabled = false;
      output.hidden = false;
    }
  });
"""
