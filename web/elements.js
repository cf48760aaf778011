// The page's elements. Each one is looked up and its type checked once, when the page starts.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function find(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} "${id}".`);
  return found;
}

/** @param {string} id */
const element = (id) => find(id, HTMLElement);
/** @param {string} id */
const button = (id) => find(id, HTMLButtonElement);
/** @param {string} id */
const input = (id) => find(id, HTMLInputElement);

export const elements = {
  // Header
  device: element("device"),

  // Image view
  viewer: element("viewer"),
  canvas: find("canvas", HTMLCanvasElement),
  divider: input("divider"),
  sideLabels: element("side-labels"),
  leftLabel: element("left-label"),
  rightLabel: element("right-label"),
  dropHint: element("drop-hint"),
  chooseFile: button("choose-file"),
  sample: button("sample"),
  zoomIn: button("zoom-in"),
  zoomOut: button("zoom-out"),
  zoomFit: button("zoom-fit"),
  scaleBar: element("scale-bar"),

  // Progress and messages
  progressRow: element("progress-row"),
  progress: find("progress", HTMLProgressElement),
  progressText: element("progress-text"),
  cancel: button("cancel"),
  status: element("status"),
  alert: element("alert"),

  // Image
  open: button("open"),
  sampleAgain: button("sample-again"),
  imageFacts: element("image-facts"),
  mpp: input("mpp"),
  slideRow: element("slide-row"),
  segmentView: button("segment-view"),
  segmentSlide: button("segment-slide"),
  mppSource: element("mpp-source"),
  notes: element("notes"),
  file: input("file"),

  // What is kept on this device
  offline: element("offline"),
  storageBar: element("storage-bar"),
  storageText: element("storage-text"),
  storageAction: button("storage-action"),
  storageClose: button("storage-close"),
  privacy: find("privacy", HTMLDetailsElement),
  privacyState: element("privacy-state"),
  keep: input("keep"),
  forgetAll: button("forget-all"),
  forgetDialog: find("forget-dialog", HTMLDialogElement),
  forgetConfirm: button("forget-confirm"),

  // Files
  files: element("files"),
  folderFacts: element("folder-facts"),
  folder: element("folder"),
  previousFile: button("previous-file"),
  nextFile: button("next-file"),
  filePosition: element("file-position"),
  segmentAll: button("segment-all"),
  stopAll: button("stop-all"),
  filesProgress: find("files-progress", HTMLProgressElement),
  filesProgressText: element("files-progress-text"),
  showSummary: button("show-summary"),
  saveAll: button("save-all"),
  summaryDialog: find("summary-dialog", HTMLDialogElement),
  summaryTable: element("summary-table"),
  saveSummary: button("save-summary"),

  // Nuclei
  count: element("count"),
  areaShare: element("area-share"),
  median: element("median"),
  histogram: element("histogram"),
  table: element("table"),

  // Model
  ratio: input("ratio"),
  ratioText: element("ratio-text"),
  pruneHidden: input("prune-hidden"),
  modelKind: element("model-kind"),
  parameters: element("parameters"),
  bytes: element("bytes"),
  time: element("time"),
  agreement: element("agreement"),
  compare: button("compare"),
  loadModel: button("load-model"),
  shippedModels: button("shipped-models"),
  modelFile: input("model-file"),
  licence: element("licence"),

  // Layers
  outline: input("outline"),
  mask: input("mask"),
  heat: input("heat"),
  threshold: input("threshold"),
  thresholdText: element("threshold-text"),

  // Export
  /** @type {NodeListOf<HTMLButtonElement>} One for each kind of file, `data-file`. */
  exports: document.querySelectorAll("#exports button[data-file]"),
  saveModel: button("save-model"),
  shareOpen: button("share-open"),

  // Footer
  version: element("version"),
  renderer: element("renderer"),

  // Dialog for a link
  share: find("share", HTMLDialogElement),
  int8: input("int8"),
  f16: input("f16"),
  shareCost: element("share-cost"),
  shareLink: find("share-link", HTMLTextAreaElement),
  shareCopy: button("share-copy"),
};
