"use strict";

// Every button of a confusion cell opens the gallery that it names; Escape, Close and a click beside it shut it.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-opens]");
  if (button) document.getElementById(button.dataset.opens).showModal();
  else if (event.target instanceof HTMLDialogElement) event.target.close();
});

// One slider, or the pointer on any curve, picks the epoch whose values are told; they are read from the table.
const slider = document.getElementById("epoch");
if (slider) {
  const headings = [...document.querySelectorAll("#epochs thead th")].map((cell) => cell.textContent);
  const rows = [...document.querySelectorAll("#epochs tbody tr")];
  const charts = [...document.querySelectorAll("svg[data-start]")];
  const values = document.getElementById("values");
  const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

  const tell = () => {
    const index = Number(slider.value) - 1;
    const cells = [...rows[index].children].map((item) => item.textContent);
    const note = cells.at(-1) ? ` (${cells.at(-1)})` : "";
    const title = cell("span", `Epoch ${cells[0]}${note}`);
    title.className = "whole";
    values.replaceChildren(title);
    for (let i = 1; i < cells.length - 1; i += 1) values.append(cell("span", headings[i]), cell("b", cells[i]));
    for (const chart of charts) {
      const { start, end } = chart.dataset;
      const share = rows.length > 1 ? index / (rows.length - 1) : 0.5;
      const line = chart.querySelector(".cursor");
      line.setAttribute("x1", Math.round(10 * (Number(start) + share * (end - start))) / 10);
      line.setAttribute("x2", line.getAttribute("x1"));
      line.removeAttribute("hidden");
    }
  };

  const follow = (event) => {
    const chart = event.currentTarget;
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const share = (x - chart.dataset.start) / (chart.dataset.end - chart.dataset.start);
    slider.value = 1 + Math.round(share * (rows.length - 1));
    tell();
  };

  slider.addEventListener("input", tell);
  for (const chart of charts) chart.addEventListener("pointermove", follow);
  tell();
}
