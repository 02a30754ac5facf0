"use strict";
// Scrubbers, curves and copy buttons. Without scripts the page still shows its pictures, tables and words.

const data = (element) => JSON.parse(element.querySelector('script[type="application/json"]').textContent);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Scrubbers: one range moves through all films, however many frames each has.
for (const scrubber of document.querySelectorAll(".scrubber")) {
  const films = [...scrubber.querySelectorAll(".film")].map((film) => ({
    ...data(film), image: film.querySelector("img"), label: film.querySelector("[data-label]"),
  }));
  const range = scrubber.querySelector("input");
  const play = scrubber.querySelector("[data-play]");
  const last = Math.max(...films.map((film) => film.frames.length)) - 1;
  let timer = null;

  const show = () => {
    for (const film of films) {
      const index = last ? Math.round((range.value / last) * (film.frames.length - 1)) : 0;
      film.image.src = film.frames[index];
      film.label.textContent = film.labels[index];
    }
    range.setAttribute("aria-valuetext", films[0].label.textContent);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  range.max = last;
  range.value = last;
  range.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(range.value) >= last) range.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (Number(range.value) >= last) stop();
    }, Math.max(90, 3000 / Math.max(last, 1)));
  });
  show();
}

// Sliders announce the position of their line.
for (const slider of document.querySelectorAll("img-comparison-slider")) {
  const say = () => slider.setAttribute("aria-valuenow", Math.round(slider.value));
  slider.setAttribute("role", "slider");
  slider.setAttribute("aria-valuemin", 0);
  slider.setAttribute("aria-valuemax", 100);
  slider.addEventListener("slide", say);
  say();
}

// Curves.
const digits = (value) => {
  if (value === null || value === undefined) return "–";
  const [mantissa, exponent] = Number(value).toExponential(2).split("e");
  if (Math.abs(exponent) <= 4) return String(Number(Number(value).toPrecision(3)));
  const raised = [...exponent.replace("+", "")].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");
  return `${Number(mantissa) === 1 ? "" : `${Number(mantissa)}·`}10${raised}`;
};
const WHOLE = [1, 10, 100, 1000, 10000, 100000].flatMap((power) => [power, 2 * power, 5 * power]); // there are no half steps
const height = (content) => content.height_px ?? 360;

function markStages(stages) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = style("--muted");
    ctx.lineWidth = devicePixelRatio;
    ctx.font = `${11 * devicePixelRatio}px ${style("--sans")}`;
    ctx.textBaseline = "top";
    for (const { step, label } of stages) {
      const x = Math.round(plot.valToPos(step, "x", true));
      ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const left = x + 5 * devicePixelRatio + ctx.measureText(label).width > bbox.left + bbox.width;
      ctx.textAlign = left ? "right" : "left";
      ctx.fillText(label, x + (left ? -5 : 5) * devicePixelRatio, bbox.top + 3 * devicePixelRatio);
    }
    ctx.restore();
  };
}

// Without a cursor, the legend shows the last values.
function readLast(plot) {
  if (plot.cursor.idx === null || plot.cursor.idx === undefined || plot.cursor.left < 0) {
    plot.setLegend({ idx: plot.data[0].length - 1 }, false);
  }
}

// On a logarithmic axis, lines at powers of ten are enough if there are several.
function decades(plot, splits) {
  const powers = splits.map((each) => (Math.abs(Math.log10(each) - Math.round(Math.log10(each))) < 1e-9 ? each : null));
  return powers.filter((each) => each !== null).length > 2 ? powers : splits;
}

function draw(place, content) {
  const colours = style("--series").split(/\s+/);
  const axis = { stroke: style("--muted"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 }, font: `12px ${style("--sans")}`, labelFont: `12px ${style("--sans")}`, labelSize: 20 };
  const lines = content.series.filter((each) => each.name !== "total").map((each) => each.name);
  const series = content.series.map(({ name, dots }) => {
    const total = name === "total";
    const number = lines.indexOf(name);
    return {
      label: name,
      stroke: total ? style("--ink") : colours[number % colours.length],
      dash: !total && number >= colours.length ? [6, 4] : undefined,
      width: total ? 2.5 : 1.75,
      spanGaps: true,
      ...(dots ? { paths: () => null } : {}),
      points: { show: dots || content.steps.length < 2, ...(dots ? { size: 3.5, width: 0, space: 0, fill: colours[number % colours.length] } : {}) },
      value: (plot, value) => digits(value),
    };
  });
  const options = {
    width: Math.max(place.clientWidth, 200),
    height: height(content),
    scales: { x: { time: false }, y: { distr: 3 } },
    legend: { live: true, markers: { width: 0, fill: (plot, index) => (index ? plot.series[index].stroke(plot, index) : "transparent") } },
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    series: [{ label: content.x, value: (plot, value) => (value === null ? "–" : String(value)) }, ...series],
    axes: [{ ...axis, label: content.x, size: 34, incrs: WHOLE }, { ...axis, label: content.y, labelSize: content.y ? 20 : 0, size: 62, grid: { ...axis.grid, filter: decades }, ticks: { ...axis.ticks, filter: decades }, values: (plot, splits) => splits.map((each) => (each === null ? "" : digits(each))) }],
    hooks: { draw: [markStages(content.stages)], setCursor: [readLast], ready: [readLast] },
  };
  return new uPlot(options, [content.steps, ...content.series.map((each) => each.values)], place);
}

for (const figure of document.querySelectorAll(".curves")) {
  const place = figure.querySelector(".plot");
  const content = data(figure);
  let plot = null;
  let index = content.steps.length - 1;
  const point = (to) => {
    index = Math.min(Math.max(to, 0), content.steps.length - 1);
    plot.setCursor({ left: plot.valToPos(content.steps[index], "x"), top: 0 });
  };
  const redraw = () => {
    if (!place.clientWidth) return; // closed details: drawn when they open
    if (plot) plot.destroy();
    plot = draw(place, content);
  };
  new ResizeObserver(() => {
    if (!plot) redraw();
    else if (place.clientWidth && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: height(content) });
  }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  place.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    point(index + by);
  });
  const touch = (event) => plot.setCursor({ left: event.touches[0].clientX - plot.over.getBoundingClientRect().left, top: 0 });
  place.addEventListener("touchstart", touch, { passive: true });
  place.addEventListener("touchmove", touch, { passive: true });
}

// Copy buttons. Pages opened from disk may lack the asynchronous clipboard.
for (const button of document.querySelectorAll("[data-copy]")) {
  const words = button.textContent;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    let copied = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
}
