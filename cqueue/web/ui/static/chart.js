/** Lines over time, drawn by uPlot (uplot.js), which this module alone knows. */

import { fill, h } from "./dom.js";

const HEIGHT = 184;
const STEPS = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((times) => times * 10 ** power)).flat();
const FONT = '11px Inter, system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif';

/**
 * A chart with a legend that tells the values under the pointer, or the last ones.
 * series: [{name, title, colour: a custom property, area}]; format: how values are written; whole: they are counts.
 */
export function chart(title, series, { format, whole = false, signal }) {
  const canvas = h("div", { class: "plot", role: "img", "data-own": true });
  const legend = h("div", { class: "legend" });
  const element = h("figure", { class: "card chart" }, h("figcaption", {}, h("h2", {}, title), legend), canvas);
  let plot = null;
  let data = null;

  function tell(position) {
    const values = series.map((one) => data?.[one.name][position ?? data.time.length - 1]);
    const said = values.map((value) => (value === undefined || value === null ? "–" : format(value)));
    fill(
      legend,
      series.map((one, number) =>
        h("span", { class: "legend-item" }, h("i", { css: { "--of": `var(${one.colour})` } }), one.title, " ", h("b", {}, said[number])),
      ),
    );
    if (position === undefined) {
      canvas.setAttribute("aria-label", `${title}: ${series.map((one, number) => `${one.title} ${said[number]}`).join(", ")}`);
    }
  }

  function make() {
    plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), font: FONT, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    plot = new window.uPlot(
      {
        width: canvas.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 4, 0, 0],
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, (high ?? 0) * 1.15)] } },
        axes: [
          { ...axis, size: 28, grid: { show: false }, space: 90, values: "{HH}:{mm}:{ss}" },
          { ...axis, size: 46, space: 36, ...(whole && { incrs: STEPS }), values: (_, values) => values.map((value) => format(value)) },
        ],
        series: [
          {},
          ...series.map((one) => ({
            stroke: colour(one.colour),
            width: 2,
            fill: one.area ? `${colour(one.colour)}1f` : undefined,
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(self) => tell(self.cursor.idx ?? undefined)] },
      },
      columns(),
      canvas,
    );
  }

  const columns = () => ["time", ...series.map((one) => one.name)].map((name) => data?.[name] ?? []);

  const size = new ResizeObserver(() => plot?.setSize({ width: canvas.clientWidth, height: HEIGHT }));
  size.observe(canvas);
  addEventListener("theme", () => plot && make(), { signal });
  signal.addEventListener("abort", () => (size.disconnect(), plot?.destroy()));
  tell();

  return {
    element,
    /** Draw these columns: {time, [name]: values}. */
    draw(next) {
      data = next;
      if (data.time.length < 2) {
        fill(canvas, h("p", { class: "hint" }, "The first figures come in a few seconds."));
        return;
      }
      if (plot === null) {
        fill(canvas);
        make();
      } else {
        plot.setData(columns());
      }
      if (plot.cursor.idx === null || plot.cursor.left < 0) tell();
    },
  };
}
