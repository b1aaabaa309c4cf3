// Viewer of images with their masks and predictions. Reads the JSON of #viewer-data:
//   runs: [name], classes: [{name, color, painted}], metric: label, higher: true where more is better,
//   cases: [{id, patient, phase, empty, size: [h, w], scores: [[value per class] per run],
//            means: [value per run], image, mask, labels: [..per run], uncertainty: [..per run]}]
// image is a JPEG, the rest are compressed bytes, one for each pixel, all in base64.
(() => {
  const source = document.getElementById("viewer-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const root = document.getElementById("viewer");
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const VOID = 255;
  const ERRORS = { missed: [213, 94, 0], invented: [240, 228, 66], confused: [255, 255, 255] };
  const shown = { mask: true, labels: true, errors: false, uncertainty: false };
  const cache = new Map();

  // Cases of one patient and phase are slices of one stack, in the order of the files.
  const stacks = new Map();
  data.cases.forEach((item, index) => {
    const key = JSON.stringify([item.patient || item.id, item.phase]);
    if (!stacks.has(key)) stacks.set(key, []);
    stacks.get(key).push(index);
    item.stack = stacks.get(key);
    item.rank = data.higher ? Math.min(...item.means) : -Math.max(...item.means);
  });
  const byRank = data.cases.map((_, index) => index)
    .sort((a, b) => data.cases[a].rank - data.cases[b].rank);
  const notEmpty = byRank.filter((index) => !data.cases[index].empty);
  const filled = notEmpty.length ? notEmpty : byRank;
  const byName = new Map(data.cases.map((item, index) => [item.id, index]));
  let current = byRank[0];

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function load(index) {
    if (cache.has(index)) return cache.get(index);
    const item = data.cases[index];
    const image = new Image();
    image.src = `data:image/jpeg;base64,${item.image}`;
    const [mask, changes, uncertainty] = await Promise.all([
      inflate(item.mask), Promise.all(item.labels.map(inflate)),
      Promise.all(item.uncertainty.map(inflate)), image.decode(),
    ]);
    const labels = changes.map((part) => part.map((value, pixel) => value ^ mask[pixel]));
    const pixels = { image, mask, labels, uncertainty };
    if (cache.size > 60) cache.delete(cache.keys().next().value);
    cache.set(index, pixels);
    return pixels;
  }

  const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const colors = data.classes.map((item) => rgb(item.color));
  const painted = (value) => value !== VOID && data.classes[value]?.painted;

  // A small canvas of one color and opacity (0..255) for each pixel; paint gives [r, g, b, a].
  function layer(item, paint) {
    const [height, width] = item.size;
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      const color = paint(pixel);
      if (color) pixels.data.set(color, 4 * pixel);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  // Lines between pixels of different classes, drawn on the side of the class.
  function outline(context, item, values, scale) {
    const [height, width] = item.size;
    const at = (row, column) => (row < 0 || column < 0 || row >= height || column >= width
      ? -1 : values[row * width + column]);
    const paths = new Map();
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const value = at(row, column);
        if (!painted(value)) continue;
        if (!paths.has(value)) paths.set(value, new Path2D());
        const path = paths.get(value), x = column * scale, y = row * scale;
        const line = (x1, y1, x2, y2) => { path.moveTo(x1, y1); path.lineTo(x2, y2); };
        if (at(row - 1, column) !== value) line(x, y, x + scale, y);
        if (at(row + 1, column) !== value) line(x, y + scale, x + scale, y + scale);
        if (at(row, column - 1) !== value) line(x, y, x, y + scale);
        if (at(row, column + 1) !== value) line(x + scale, y, x + scale, y + scale);
      }
    }
    context.lineCap = "round";
    for (const [value, path] of paths) {
      context.strokeStyle = data.classes[value].color;
      context.lineWidth = Math.max(1.5, scale / 3);
      context.stroke(path);
    }
  }

  const heat = (share) => [255 * Math.min(1, 2 * share), 255 * Math.max(0, 2 * share - 1),
    255 * (0.55 - 0.5 * share)];

  function errorColor(mask, label) {
    if (mask === label || mask === VOID) return null;
    if (!painted(label)) return ERRORS.missed;
    return painted(mask) ? ERRORS.confused : ERRORS.invented;
  }

  function drawPanel(canvas, item, pixels, run, opacity) {
    const [height, width] = item.size;
    const scale = Math.max(1, Math.ceil(560 / Math.max(width, height)));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.drawImage(pixels.image, 0, 0, canvas.width, canvas.height);
    if (run < 0) return;
    context.imageSmoothingEnabled = false;
    const put = (paint) => context.drawImage(layer(item, paint), 0, 0, canvas.width, canvas.height);
    const labels = pixels.labels[run], alpha = 255 * opacity;
    if (shown.uncertainty) {
      put((pixel) => {
        const share = pixels.uncertainty[run][pixel] / 15;
        return share ? [...heat(share), 255 * Math.min(1, 2 * share) * opacity] : null;
      });
    }
    if (shown.mask) {
      put((pixel) => (painted(pixels.mask[pixel]) ? [...colors[pixels.mask[pixel]], alpha] : null));
    }
    if (shown.errors) {
      put((pixel) => {
        const color = errorColor(pixels.mask[pixel], labels[pixel]);
        return color && [...color, 255 * Math.min(1, 0.4 + opacity)];
      });
    }
    if (shown.labels) outline(context, item, labels, scale);
  }

  const number = (value) => (value === null ? "–" : value.toFixed(3));

  function describe(item) {
    const stack = item.stack, phases = phasesOf(item);
    const parts = [item.id];
    if (item.patient && item.patient !== item.id) parts.push(item.patient);
    if (item.phase) parts.push(item.phase);
    if (stack.length > 1) parts.push(`slice ${stack.indexOf(current) + 1} of ${stack.length}`);
    parts.push(`rank ${byRank.indexOf(current) + 1} of ${byRank.length} from the worst`);
    if (item.empty) parts.push("empty mask");
    find("title").textContent = parts.join(" · ");
    const slice = find("slice"), phase = find("phase");
    slice.max = stack.length - 1;
    slice.value = stack.indexOf(current);
    slice.parentElement.hidden = stack.length < 2;
    phase.max = phases.length - 1;
    phase.value = phases.indexOf(item.phase);
    phase.parentElement.hidden = phases.length < 2;
    root.querySelectorAll("figure").forEach((figure, position) => {
      const run = position - 1;
      if (run < 0) return;
      const classes = data.classes.filter((each) => each.painted);
      const scores = classes.map((each, index) => `${each.name} ${number(item.scores[run][index])}`);
      const mean = `${data.metric} ${number(item.means[run])}`;
      figure.querySelector("[data-part=scores]").textContent =
        classes.length > 1 ? `${mean} (${scores.join(", ")})` : mean;
    });
    document.querySelectorAll("tr[data-case]").forEach((row) => {
      row.classList.toggle("current", row.dataset.case === item.id);
    });
  }

  async function show(index) {
    current = index;
    const item = data.cases[index];
    describe(item);
    const pixels = await load(index);
    if (current !== index) return; // the next key was faster
    const opacity = find("opacity").value / 100;
    root.querySelectorAll("figure canvas").forEach((canvas, position) => {
      drawPanel(canvas, item, pixels, position - 1, opacity);
    });
    root.dataset.case = item.id;
  }

  const phasesOf = (item) => [...new Set(data.cases
    .filter((each) => item.patient && each.patient === item.patient).map((each) => each.phase))];

  function changePhase(phase) {
    const item = data.cases[current], position = item.stack.indexOf(current);
    const other = data.cases.find((each) => each.patient === item.patient && each.phase === phase);
    if (other) show(other.stack[Math.min(position, other.stack.length - 1)]);
  }

  function step(by) {
    const rank = byRank.indexOf(current) + by;
    show(byRank[Math.min(byRank.length - 1, Math.max(0, rank))]);
  }

  function stepSlice(by) {
    const stack = data.cases[current].stack;
    show(stack[Math.min(stack.length - 1, Math.max(0, stack.indexOf(current) + by))]);
  }

  function nextPhase() {
    const phases = phasesOf(data.cases[current]);
    if (phases.length > 1) {
      changePhase(phases[(phases.indexOf(data.cases[current].phase) + 1) % phases.length]);
    }
  }

  function toggle(name) {
    shown[name] = !shown[name];
    find(name).checked = shown[name];
    find("errors-legend").hidden = !shown.errors;
    find("uncertainty-legend").hidden = !shown.uncertainty;
    show(current);
  }

  function changeOpacity(by) {
    find("opacity").value = Number(find("opacity").value) + by;
    show(current);
  }

  const actions = {
    worst: () => show(byRank[0]),
    median: () => show(filled[Math.floor(filled.length / 2)]),
    best: () => show(filled[filled.length - 1]),
    previous: () => step(-1),
    next: () => step(1),
  };
  const keys = {
    ArrowLeft: actions.previous, ArrowRight: actions.next,
    ArrowUp: () => stepSlice(-1), ArrowDown: () => stepSlice(1),
    m: () => toggle("mask"), l: () => toggle("labels"), e: () => toggle("errors"),
    u: () => toggle("uncertainty"), p: nextPhase, "+": () => changeOpacity(10),
    "-": () => changeOpacity(-10), 1: actions.worst, 2: actions.median, 3: actions.best,
  };

  document.addEventListener("keydown", (event) => {
    const target = event.target, type = target.type;
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (type === "search" || type === "text" || target.tagName === "SELECT") return;
    const isArrow = event.key.startsWith("Arrow");
    if (isArrow && (type === "range" || !(root.contains(target) || root.matches(":hover")))) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const [name, action] of Object.entries(actions)) find(name).addEventListener("click", action);
  for (const name of Object.keys(shown)) {
    find(name).checked = shown[name];
    find(name).addEventListener("change", () => toggle(name));
  }
  find("slice").addEventListener("input", (event) =>
    show(data.cases[current].stack[event.target.value]));
  find("phase").addEventListener("input", (event) =>
    changePhase(phasesOf(data.cases[current])[event.target.value]));
  find("opacity").addEventListener("input", () => show(current));
  function openRow(event) {
    const row = event.target.closest("tr[data-case]");
    if (!row || (event.type === "keydown" && event.key !== "Enter")) return;
    show(byName.get(row.dataset.case));
    root.scrollIntoView({ block: "start" });
    root.focus({ preventScroll: true });
  }
  document.querySelectorAll("tr[data-case]").forEach((row) => {
    if (byName.has(row.dataset.case)) row.tabIndex = 0;
    else row.removeAttribute("data-case"); // left out of the page
  });
  document.addEventListener("click", openRow);
  document.addEventListener("keydown", openRow);
  // One shape for all, so that nothing below moves from one image to the next.
  const shapes = data.cases.map(({ size: [height, width] }) => width / height);
  root.style.setProperty("--shape", Math.max(0.8, Math.min(...shapes)));
  root.hidden = false;
  show(current);
})();
