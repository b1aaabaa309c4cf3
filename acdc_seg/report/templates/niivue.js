// Volumes in NiiVue. Reads the script of #niivue-bundle (gzip, base64) and the JSON of #niivue-data:
//   classes: [{name, color, painted}], metric: label, worst: name,
//   volumes: [{name, mean, cases: [id], slices: [number], image, mask, labels}]
// The last three are compressed NIfTI files in base64.
(async () => {
  const VOID = 255;
  const OVERLAYS = ["mask", "labels", "errors"];
  const data = JSON.parse(document.getElementById("niivue-data").textContent);
  const root = document.getElementById("volumes");
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const fail = (text) => {
    find("failure").textContent = text;
    find("failure").hidden = false;
    find("screen").hidden = true;
    root.dataset.volume = "";
  };
  if (!document.createElement("canvas").getContext("webgl2")) {
    fail("This browser has no WebGL 2; volumes cannot be shown.");
    return;
  }

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  const script = document.createElement("script");
  const source = document.getElementById("niivue-bundle").textContent.trim();
  script.textContent = new TextDecoder().decode(await inflate(source));
  document.head.append(script);
  const { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, MULTIPLANAR_TYPE } = window.niivue;

  const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  // Colors of the values 0, 1, ...; those of no color are transparent.
  const colormap = (colors) => {
    const all = colors.map((color) => (color ? [...rgb(color), 255] : [0, 0, 0, 0]));
    const [R, G, B, A] = [0, 1, 2, 3].map((channel) => all.map((color) => color[channel]));
    return { R, G, B, A, I: all.map((_, value) => value) };
  };
  const painted = data.classes.map((item) => item.painted);
  const ofClasses = colormap(data.classes.map((item) => (item.painted ? item.color : null)));
  const ofErrors = colormap([null, "#d55e00", "#f0e442", "#ffffff"]);

  // 0 right or void, 1 missed, 2 invented, 3 another class.
  function error(mask, label) {
    if (mask === label || mask === VOID) return 0;
    if (!painted[label]) return 1;
    return painted[mask] ? 3 : 2;
  }

  const viewer = new Niivue({
    backColor: [0, 0, 0, 1], dragAndDropEnabled: false, isColorbar: false, loadingText: "",
    isOrientationTextVisible: false, crosshairWidth: 0.5, logLevel: "silent", show3Dcrosshair: true,
    multiplanarShowRender: SHOW_RENDER.ALWAYS, multiplanarLayout: MULTIPLANAR_TYPE.GRID,
  });
  await viewer.attachToCanvas(find("screen"), false);

  const number = (value) => (value === null ? "–" : value.toFixed(3));
  const byCase = new Map();
  data.volumes.forEach((volume, index) => {
    const text = `${volume.name} · ${data.metric} ${number(volume.mean)}`;
    find("case").add(new Option(text, index));
    volume.cases.forEach((id, position) => byCase.set(id, [index, volume.slices[position]]));
  });

  async function open(index) {
    const volume = data.volumes[index];
    find("case").value = index;
    if (root.dataset.volume === volume.name) return;
    const files = await Promise.all(["image", "mask", "labels"].map((name) => inflate(volume[name])));
    const [image, mask, labels, errors] = await Promise.all([...files, files[2].slice(0)].map(
      (file, position) => NVImage.new(file, `${position}.nii`, "gray", 1)));
    errors.img = mask.img.map((value, voxel) => error(value, labels.img[voxel]));
    mask.img = mask.img.map((value) => (value === VOID ? 0 : value));
    mask.setColormapLabel(ofClasses);
    labels.setColormapLabel(ofClasses);
    errors.setColormapLabel(ofErrors);
    for (const old of [...viewer.volumes]) viewer.removeVolume(old);
    for (const part of [image, mask, labels, errors]) viewer.addVolume(part);
    paint();
    root.dataset.volume = volume.name;
  }

  function paint() {
    const opacity = find("opacity").value / 100;
    find("errors-legend").hidden = !find("errors").checked;
    OVERLAYS.forEach((name, position) => {
      viewer.setOpacity(position + 1, find(name).checked ? opacity : 0);
    });
  }

  function goTo(slice, depth) {
    const place = viewer.scene.crosshairPos;
    viewer.scene.crosshairPos = [place[0], place[1], (slice + 0.5) / depth];
    viewer.drawScene();
  }

  // One after the other, so that two clicks never fill the screen at once.
  let last = Promise.resolve();
  const queue = (action) => {
    last = last.then(action).catch((error) => fail(`NiiVue failed: ${error.message}`));
  };
  const follow = () => {
    const [index, slice] = byCase.get(document.getElementById("viewer").dataset.case) || [];
    if (index === undefined) return;
    queue(async () => {
      await open(index);
      goTo(slice, data.volumes[index].slices.at(-1) + 1);
    });
  };
  const views = {
    all: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, render: SLICE_TYPE.RENDER,
  };
  find("case").addEventListener("change", (event) => queue(() => open(event.target.value)));
  find("view").addEventListener("change", (event) => viewer.setSliceType(views[event.target.value]));
  for (const name of [...OVERLAYS, "opacity"]) find(name).addEventListener("input", paint);
  queue(() => open(data.volumes.findIndex((volume) => volume.name === data.worst)));
  new MutationObserver(follow)
    .observe(document.getElementById("viewer"), { attributeFilter: ["data-case"] });
})();
