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
function svg(id) {
  const found = document.getElementById(id);
  // `getElementById` is typed for HTML alone.
  const drawing = /** @type {unknown} */ (found);
  if (!(drawing instanceof SVGSVGElement)) throw new Error(`The page has no drawing "${id}".`);
  return drawing;
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
  outlineCanvas: find("outline-canvas", HTMLCanvasElement),
  overlayCanvas: find("overlay-canvas", HTMLCanvasElement),
  strokeCanvas: find("stroke-canvas", HTMLCanvasElement),
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
  main: element("main"),
  takePhoto: button("take-photo"),
  /** @type {NodeListOf<HTMLButtonElement>} `data-magnification` is that of an objective. */
  magnifications: document.querySelectorAll("#magnification button"),
  magnificationNow: find("magnification-now", HTMLOutputElement),
  ruler: button("ruler"),
  rulerDrawing: svg("ruler-drawing"),
  overview: element("overview"),
  overviewFold: button("overview-fold"),
  overviewMap: find("overview-map", HTMLCanvasElement),

  // Tools and the card of an object
  /** @type {NodeListOf<HTMLButtonElement>} `data-tool` is its name. */
  toolButtons: document.querySelectorAll("#tool-bar button[data-tool]"),
  toolReview: button("tool-review"),
  toolUndo: button("tool-undo"),
  toolRedo: button("tool-redo"),
  objectCard: element("object-card"),
  cardTitle: element("card-title"),
  cardFacts: element("card-facts"),
  cardAccept: button("card-accept"),
  cardReject: button("card-reject"),
  cardForget: button("card-forget"),
  cardRedraw: button("card-redraw"),
  cardSplit: button("card-split"),
  cardMerge: button("card-merge"),
  cardClose: button("card-close"),

  // Teaching
  teach: button("teach"),
  saveMarks: button("save-marks"),
  completeView: button("complete-view"),
  keepAside: input("keep-aside"),
  markCounts: element("mark-counts"),
  paintClass: find("paint-class", HTMLSelectElement),
  paintWidth: input("paint-width"),
  newType: element("new-type"),
  typeName: input("type-name"),
  addType: button("add-type"),
  taught: element("taught"),
  taughtText: element("taught-text"),
  keepTaught: button("keep-taught"),
  discardTaught: button("discard-taught"),
  versions: element("versions"),
  versionList: element("version-list"),

  // Progress and messages
  progressRow: element("progress-row"),
  progress: find("progress", HTMLProgressElement),
  progressText: element("progress-text"),
  cancel: button("cancel"),
  continue: button("continue"),
  continueRow: element("continue-row"),
  status: element("status"),
  alert: element("alert"),
  alertRow: element("alert-row"),
  alertClose: button("alert-close"),

  // Panel as a sheet
  panel: element("panel"),
  panelContent: element("panel-content"),
  sheetBar: element("sheet-bar"),
  sheetHandle: element("sheet-handle"),
  sheetCount: element("sheet-count"),
  sheetLower: button("sheet-lower"),
  sheetRaise: button("sheet-raise"),
  sheetTabs: element("sheet-tabs"),

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
  photo: button("photo"),
  camera: input("camera"),
  slideEstimate: element("slide-estimate"),

  // Nuclei
  count: element("count"),
  countScope: element("count-scope"),
  countArea: element("count-area"),
  countInView: element("count-in-view"),
  edited: element("edited"),
  typeCounts: element("type-counts"),
  areaShare: element("area-share"),
  median: element("median"),
  histogram: element("histogram"),
  table: element("table"),

  // Model
  modelStops: element("model-stops"),
  experiment: find("experiment", HTMLDetailsElement),
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
  received: element("received"),
  matchStain: input("match-stain"),
  stainFacts: element("stain-facts"),

  // Display
  stain: find("stain", HTMLSelectElement),
  brightness: input("brightness"),
  brightnessText: element("brightness-text"),
  contrast: input("contrast"),
  contrastText: element("contrast-text"),
  lookReset: button("look-reset"),
  outline: input("outline"),
  palette: find("palette", HTMLSelectElement),
  mask: input("mask"),
  heat: input("heat"),
  threshold: input("threshold"),
  thresholdText: element("threshold-text"),

  // Regions
  regionCanvas: find("region-canvas", HTMLCanvasElement),
  /** @type {NodeListOf<HTMLButtonElement>} One for each tool, `data-region-tool`. */
  regionTools: document.querySelectorAll("button[data-region-tool]"),
  regionFromView: button("region-from-view"),
  regionTable: find("region-table", HTMLTableElement),
  regionRows: find("region-rows", HTMLTableSectionElement),
  regionAreaUnit: element("region-area-unit"),
  regionNote: element("region-note"),
  noRegions: element("no-regions"),
  insideOnly: input("inside-only"),
  openRegions: button("open-regions"),
  saveRegions: button("save-regions"),
  saveRegionTable: button("save-region-table"),
  regionsFile: input("regions-file"),
  openedOutlines: element("opened-outlines"),

  // Compare
  compareSettings: element("compare-settings"),
  compareWith: find("compare-with", HTMLSelectElement),
  compareMode: find("compare-mode", HTMLSelectElement),
  openReference: button("open-reference"),
  closeReference: button("close-reference"),
  referenceFile: input("reference-file"),
  referenceNotes: element("reference-notes"),
  secondModelFile: input("second-model-file"),
  scorePlace: find("score-place", HTMLSelectElement),
  scoreButton: button("score"),
  scores: element("scores"),
  scoreNote: element("score-note"),
  differences: input("differences"),
  differenceKey: element("difference-key"),

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
  shareGets: element("share-gets"),
  shareAdvice: element("share-advice"),
  shareSmallest: button("share-smallest"),
  shareInt8: button("share-int8"),
  shareOwn: button("share-own"),
};
