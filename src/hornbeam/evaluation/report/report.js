"use strict";
// Without this script the page is whole but for what is behind the cells, sorting and searching.
// All text from users goes through textContent.
{
  const root = document.documentElement;
  root.classList.add("scripted");
  const block = document.getElementById("cells");
  let kept = null;
  const data = () => kept || (kept = JSON.parse(block.textContent)); // when it is first needed: it is long

  function element(name, text, parent) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  // The pictures of a cell, or the cells near a place of the map.
  const dialog = element("dialog", undefined, document.body);
  let before = null;
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => before && before.focus({ preventScroll: true }));

  function open(title) {
    dialog.replaceChildren();
    element("h2", title, dialog);
    const close = element("button", "close", dialog);
    close.className = "close";
    close.addEventListener("click", () => dialog.close());
    if (!dialog.open) { before = document.activeElement; dialog.showModal(); }
    dialog.scrollTop = 0;
    return dialog;
  }

  const counted = (n) => (n === 1 ? "1 picture" : n + " pictures");

  function titleOf(task, cell) {
    const classes = data().tasks[task].classes;
    const [truth, answer, count] = cell;
    return truth === answer
      ? `${classes[truth]}, named right: ${counted(count)}`
      : `${classes[truth]} named ${classes[answer]}: ${counted(count)}`;
  }

  function addressOf(name) {
    const there = document.querySelector(`img[data-p="${name}"]`);
    return there ? there.src : data().shots[name];
  }

  function showCell(task, truth, answer) {
    const cell = data().tasks[task].cells.find((c) => c[0] === truth && c[1] === answer);
    if (!cell) return;
    const [, , count, names, percent] = cell;
    const inside = open(titleOf(task, cell));
    const shots = document.createElement("div");
    shots.className = "shots";
    const list = document.createElement("ul");
    names.forEach((name, place) => {
      const words = `${data().names[name]} (${percent[place]} %)`;
      const address = addressOf(name);
      if (!address) { element("li", words, list); return; }
      const figure = element("figure", undefined, shots);
      const image = element("img", undefined, figure);
      image.alt = "";
      image.src = address;
      element("figcaption", words, figure);
    });
    inside.append(shots, list);
    if (count > names.length) {
      element("p", `and ${counted(count - names.length)} more, which predictions.parquet names.`, inside);
    }
  }

  function listCells(task, cells, body, most) {
    const { classes, totals } = data().tasks[task];
    for (const cell of cells.slice(0, most)) {
      const [truth, answer, count] = cell;
      const row = element("tr", undefined, body);
      element("td", classes[truth], row);
      element("td", classes[answer], row).className = "words";
      const button = element("button", count, element("td", undefined, row));
      button.dataset.c = [task, truth, answer].join();
      element("td", (100 * count / totals[truth]).toFixed(1) + "%", row);
    }
    if (cells.length > most) {
      element("td", `and ${cells.length - most} more`, element("tr", undefined, body));
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-c]");
    if (button) { showCell(...button.dataset.c.split(",").map(Number)); return; }
    const map = event.target.closest("[data-map]");
    if (!map) return;
    const box = map.getBoundingClientRect();
    const classes = Number(map.dataset.classes);
    const at = (part, whole) => Math.min(classes - 1, Math.floor(classes * part / whole));
    const truth = at(event.clientY - box.top - map.clientTop, map.clientHeight);
    const answer = at(event.clientX - box.left - map.clientLeft, map.clientWidth);
    const task = Number(map.dataset.map);
    const near = Math.max(1, Math.ceil(6 * classes / map.clientWidth)); // a finger is no pixel
    const cells = data().tasks[task].cells
      .filter((c) => Math.abs(c[0] - truth) <= near && Math.abs(c[1] - answer) <= near)
      .sort((a, b) => b[2] - a[2]);
    const names = data().tasks[task].classes;
    const inside = open(`Near ${names[truth]} named ${names[answer]}`);
    if (!cells.length) { element("p", "There is nothing.", inside); return; }
    const table = element("table", undefined, inside);
    table.className = "pairs";
    listCells(task, cells, table, 50);
  });

  // Searching: among the confusions of all classes, and among the rows of a table.
  for (const field of document.querySelectorAll("[data-pairs]")) {
    const task = Number(field.dataset.pairs);
    const body = field.closest("section").querySelector(".pairs tbody");
    const first = [...body.children];
    field.addEventListener("input", () => {
      const word = field.value.trim().toLowerCase();
      if (!word) { body.replaceChildren(...first); return; }
      const { classes, cells } = data().tasks[task];
      const fits = classes.map((name) => name.toLowerCase().includes(word));
      const found = cells.filter((c) => c[0] !== c[1] && (fits[c[0]] || fits[c[1]]));
      body.replaceChildren();
      listCells(task, found.sort((a, b) => b[2] - a[2]), body, 100);
    });
  }
  for (const field of document.querySelectorAll("[data-filter]")) {
    const rows = [...field.closest("section").querySelectorAll(".sortable tbody tr")];
    field.addEventListener("input", () => {
      const word = field.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(word);
    });
  }

  // Sorting: by a column's numbers, what has none last; by names in their own order.
  for (const table of document.querySelectorAll(".sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...table.tBodies[0].rows];
    heads.forEach((head, column) => {
      if (!head.textContent) return;
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        for (const other of heads) other.removeAttribute("aria-sort");
        const rising = was ? was === "descending" : true;
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const sign = rising ? 1 : -1;
        let sorted = rows.map((row, place) => [row, place]);
        if (column) {
          sorted = rows.map((row) => [row, parseFloat(row.cells[column].textContent.replace(/,/g, ""))]);
        }
        sorted.sort(([, a], [, b]) => {
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
          return sign * (a - b);
        });
        table.tBodies[0].append(...sorted.map(([row]) => row));
      });
    });
  }

  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
}
