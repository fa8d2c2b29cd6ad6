"use strict";
(() => {
  const root = document.documentElement, store = (() => { try { return window.localStorage; } catch { return null; } })();
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.querySelector("#theme");
  const chosen = () => store?.getItem("crosstask-theme") || "auto";
  const applied = () => (chosen() === "auto" ? (system.matches ? "dark" : "light") : chosen());
  const show = () => { root.dataset.theme = applied(); if (button) button.textContent = `Theme: ${chosen()}`; };
  show();
  system.addEventListener("change", show);
  button?.addEventListener("click", () => {
    const all = ["auto", "light", "dark"];
    store?.setItem("crosstask-theme", all[(all.indexOf(chosen()) + 1) % 3]);
    show();
  });

  const json = (id) => JSON.parse(document.getElementById(id)?.textContent || "null");
  const charts = json("chart-data") || {};
  const draw = (place) => {
    const options = { actions: false, renderer: "svg", ast: true, tooltip: { theme: applied() === "dark" ? "dark" : "light" } };
    return window.vegaEmbed(place, charts[place.dataset.chart], options).then(() => {
      place.querySelector("svg")?.setAttribute("aria-hidden", "true");
    });
  };
  const places = [...document.querySelectorAll(".chart")];
  const drawAll = async () => {
    for (const place of places) {
      try { await draw(place); } catch (error) { place.textContent = "This chart could not be drawn."; console.error(error); }
    }
    root.dataset.drawn = String(places.length);
  };
  drawAll();

  const numberOf = (text) => { const found = text.replace(/[−–]/g, "-").match(/[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?/i); return found ? Number(found[0].replace(/,/g, "")) : NaN; };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], heads = [...(table.tHead?.rows[0]?.cells || [])];
    if (!body || body.rows.length < 3) continue;
    heads.forEach((head, column) => {
      const press = document.createElement("button");
      press.type = "button";
      press.append(...head.childNodes);
      head.append(press);
      press.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column]?.textContent.trim() || "";
        const rows = [...body.rows].map((row) => [row, key(row), numberOf(key(row))]);
        const words = rows.filter(([, , value]) => Number.isNaN(value)).length > rows.length / 2;
        rows.sort(([, a, x], [, b, y]) => {
          if (words) return a.localeCompare(b);
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
          return x - y;
        });
        if (!up) rows.reverse();
        body.append(...rows.map(([row]) => row));
      });
    });
  }

  const cases = json("case-data") || [];
  document.querySelectorAll(".case").forEach((element, index) => {
    const one = cases[index], slider = element.querySelector("input[type=range]"), number = element.querySelector("output");
    const layer = element.querySelector("select"), outlines = element.querySelector("input[type=checkbox]");
    const tiles = [...element.querySelectorAll(".tile")].map((tile) => ({
      image: tile.querySelector("img.base"), wash: tile.querySelector("img.wash"), drawn: tile.querySelector("svg"),
    }));
    const scales = [...element.querySelectorAll("[data-layer]")];
    const update = () => {
      const at = slider ? Number(slider.value) : one.start;
      const cut = layer ? layer.value.lastIndexOf("/") : -1;
      const name = cut < 0 ? "" : layer.value.slice(0, cut), kind = cut < 0 ? "" : layer.value.slice(cut + 1);
      if (number) number.textContent = `slice ${one.slices[at] + 1}`;
      tiles.forEach(({ image, wash, drawn }, place) => {
        const own = one.tiles[place], washed = own.washes[name], shown = washed?.[kind] || [];
        image.src = one.images[at];
        wash.hidden = !shown.length;
        if (shown.length) wash.src = shown[at];
        const lines = kind === "colours" && washed ? washed.lines[at] : "";
        drawn.innerHTML = (outlines && !outlines.checked ? "" : own.outlines[at]) + lines;
      });
      scales.forEach((scale) => { scale.hidden = scale.dataset.layer !== layer?.value; });
    };
    for (const input of [slider, layer, outlines]) input?.addEventListener("input", update);
    update();
  });
})();
