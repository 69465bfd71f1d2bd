"use strict";
// Draws every figure in the colours of the style sheet, and again where these change.
(() => {
  const root = document.documentElement;
  const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const paint = (value, isColour) => {
    if (Array.isArray(value)) return value.map((one) => paint(one, isColour));
    if (value !== null && typeof value === "object")
      return Object.fromEntries(
        Object.entries(value).map(([key, one]) => [key, paint(one, /color$/.test(key))]));
    return isColour && typeof value === "string" && value.startsWith("--") ? ink(value) : value;
  };
  // Text of a narrow figure takes several lines; it is disarmed already.
  const wrap = (text, most) => text.replace(new RegExp(`(.{${most},}?) `, "g"), "$1<br>");
  const axis = (own, isNarrow) => ({
    automargin: true, gridcolor: ink("--rule"), zerolinecolor: ink("--rule"),
    linecolor: ink("--rule"), ...own, ...(isNarrow && own.ticktext ? { ticktext: own.ticktext.map((name) => wrap(name, 12)) } : {}),
    title: { standoff: 10, ...own.title, text: wrap(own.title?.text ?? "", 16) },
  });
  const draw = (plot) => {
    const { data, layout } = paint(JSON.parse(plot.nextElementSibling.textContent), false);
    const isNarrow = plot.clientWidth < 480;
    // The scale of a lone heat map has no room there; hovering tells the value.
    if (isNarrow && !plot.closest(".side")) for (const trace of data) trace.showscale = false;
    return Plotly.react(plot, data, {
      ...layout, width: plot.clientWidth, height: Number(plot.dataset.height),
      xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis, isNarrow),
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink("--text") },
      paper_bgcolor: ink("--page"), plot_bgcolor: ink("--page"), dragmode: false,
      hoverlabel: { bgcolor: ink("--panel"), bordercolor: ink("--rule"), font: { color: ink("--text") } },
      margin: { l: 10, r: 10, t: 12, b: 10 }, hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    }, { displayModeBar: false, scrollZoom: false, doubleClick: false });
  };
  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => Promise.all(plots.map(draw)).then(() => { root.dataset.drawn = plots.length; });
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth, waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  addEventListener("beforeprint", () => { root.classList.add("print"); drawAll(); });
  addEventListener("afterprint", () => { root.classList.remove("print"); drawAll(); });
})();
