// Types of what crosses between the page, the session worker and the block workers. Methods and
// their arguments come from the bindings of the Rust code; this file adds what their JSON holds.
import type { Session } from "./prunella.js";
import type { OwnMethods } from "./session-worker.js";

/** Row, column, width and height, pixels; of the image in events, else of the model. */
export type BlockRect = [row: number, column: number, width: number, height: number];

/** Left, top, right and bottom, pixels of the finest level of a slide. */
export type Bounds = [left: number, top: number, right: number, bottom: number];

/** Level, row and column of a tile. */
export type TileIndex = [level: number, row: number, column: number];

export interface ModelFacts {
  /** Number of the model in the session. */
  id: number;
  family: string;
  /** Number of parameters. */
  parameters: number;
  /** Size of the file. */
  bytes: number;
  /** Filters removed, 0 to 1. */
  ratio: number;
  /** Default threshold, 0 to 1. */
  threshold: number;
  /** Pixel size that the model expects, µm; 0 if unknown. */
  mpp: number;
  licence: string | null;
  /** Data sets that it was trained on. */
  sources: { name: string; licence?: string; citation?: string }[];
  fingerprint: string;
}

export interface ImageFacts {
  width: number;
  height: number;
  /** Pixel size that the file states, µm. */
  mpp: number | null;
  /** What was unusual about the file and what was done about it, a sentence each. */
  notes: string[];
}

export interface SlideFacts {
  /** Size of the finest level, pixels. */
  width: number;
  height: number;
  levels: number;
  /** Pixel size, µm. */
  mpp: number | null;
  magnification: number | null;
  notes: string[];
}

export interface AdapterFacts {
  name: string;
  /** Whether the adapter is emulated on the CPU. */
  software: boolean;
}

export interface DeviceFacts {
  name: string;
  gpu: boolean;
  software: boolean;
  /** Sentences about devices that were not used. */
  notes: string[];
}

export interface NucleiSummary {
  count: number;
  /** Share of the segmented area that is nuclei, 0 to 1. */
  share: number;
  seconds: number;
  threshold: number;
}

/** What counts: numbers of objects. */
export interface ReviewCounts {
  /** Nuclei of the model that no mark hides, accepted and added ones. */
  nuclei: number;
  /** Pixels of the finest level that they cover. */
  coveredPx: number;
  accepted: number;
  added: number;
  /** Objects that were rejected; they do not count. */
  rejected: number;
}

export interface RegionCounts extends ReviewCounts {
  id: number;
  name: string;
  /** Pixels of the finest level: the region inside the image, and its segmented part. */
  areaPx: number;
  segmentedPx: number;
}

/** Outcome of `readRegions`. */
export interface RegionFile {
  regions: NamedRegion[];
  /** Number of objects that a program found. */
  detections: number;
  notes: string[];
}

/** Outcome of `Session.setReference`. */
export interface ReferenceFacts {
  objects: number;
  notes: string[];
}

/** Outcome of `Session.scores`: of the first result against the second; null where not defined. */
export interface ScoreFacts {
  true_objects: number;
  called_objects: number;
  dice: number | null;
  dice2: number | null;
  aji: number | null;
  aji_plus: number | null;
  dq: number | null;
  sq: number | null;
  pq: number | null;
  f1: number | null;
  matched: number;
  missed: number;
  extra: number;
  /** Left, top, width and height, pixels. */
  window: [number, number, number, number];
}

/** Outcome of `Session.summary`. */
export interface ReviewSummary extends ReviewCounts {
  /** Segmented area, pixels of the finest level. */
  segmentedPx: number;
  /** Blocks that are to be segmented, and those of them that are finished. */
  wanted: number;
  done: number;
  /** How the result was made; null without one. */
  threshold: number | null;
  fingerprint: string | null;
  /** Nuclei of an earlier result, shown where this one is not finished. They do not count. */
  olderNuclei: number;
  regions: RegionCounts[];
  /** Types of nuclei that the model tells apart; empty where there is only one. */
  types: NucleusType[];
}

export interface NucleusType {
  name: string;
  /** Red, green, blue. */
  colour: number[];
}

/** Outcome of `Computation.compute`. */
export interface GpuOutcome {
  /** False if the CPU workers must do it instead. */
  done: boolean;
  notes: string[];
  /** Whether the device is lost. */
  lost: boolean;
}

/** Outcome of `Session.slideFinish`. */
export interface SlideBlockResult {
  bounds: Bounds;
  /** Nuclei and their share of the area, over all finished blocks. */
  count: number;
  share: number;
  /** Number of blocks that are finished and of blocks that have tissue. */
  done: number;
  wanted: number;
}

/** How a map is computed. */
export interface ComputeJob {
  /** Number of the model in the session. */
  model: number;
  gpu: boolean;
  /** Slot whose finished blocks are reported to the page; without one none are. */
  slot?: number;
}

export interface SegmentJob extends ComputeJob {
  slot: number;
  /** Pixel size of the image or slide, µm; 0 if unknown, for images only. */
  mpp: number;
  /** Whether an image that was cancelled goes on. */
  resume?: boolean;
}

/** Outcome of `redoSlide`. */
export interface RedoneBlocks {
  ms: number;
  /** Blocks that were done again from what was kept. */
  blocks: number;
}

export interface SegmentResult {
  ms: number;
  onGpu: boolean;
  notes: string[];
  /** Whether the GPU was lost on the way. */
  lost: boolean;
}

export interface SlideJob extends SegmentJob {
  /** Below 0 for the model's own. */
  threshold: number;
  bounds: Bounds;
}

export interface SlideResult {
  ms: number;
  /** Number of blocks that were computed. */
  blocks: number;
  notes: string[];
  lost: boolean;
}

/** Numbers of blocks, before a segmentation. */
export interface SlideEstimate {
  /** Of the rectangle: those that hold tissue, and all. */
  needed: number;
  all: number;
  /** Of the slide. */
  slide_needed: number;
  slide_all: number;
}

export interface SlideProgress {
  slot: number;
  finished: number;
  total: number;
  /** Of the block that was finished last; without one at the start. */
  block?: SlideBlockResult;
}

/** X and y, pixels of the finest level. */
export type PointPair = [x: number, y: number];
/** Parts, each an outline and then its holes. */
export type Polygons = PointPair[][][];

/** A nucleus with outline and measurements; what the worker gives is passed on as it is. */
export interface NucleusFacts {
  label: number;
  polygons: Polygons;
  area_px: number;
  centroid: PointPair;
  /**
   * Area, perimeter, circularity, eccentricity, mean probability, mean hematoxylin; null where it
   * is not known, as the probability of a nucleus that was drawn on a slide.
   */
  measurements: (number | null)[] | null;
  /** Place of its type among those of the summary. */
  class?: number;
}

export type MarkStatus = "accepted" | "added" | "rejected" | "replaced";

/** An object that is shown: a nucleus of a model, or a mark, whose id has bit 31 set. */
export interface ReviewObject {
  id: number;
  /** Null for a nucleus of a model. */
  status: MarkStatus | null;
  nucleus: NucleusFacts;
  /** Name of its type. */
  type_name?: string;
}

export interface DocumentFacts {
  hash: string;
  name: string;
  width: number;
  height: number;
  isSlide: boolean;
}

export interface PixelSizeSetting {
  um: number | null;
  source: "unknown" | "file" | "person";
}

export interface ModelSetting {
  /** Name of the model that ships from which filters are removed; null for the paper's. */
  shipped: string | null;
  /** Filters removed, per cent. */
  ratio: number;
  pruneHidden: boolean;
  /** Fingerprint of a model that was loaded. */
  loaded: string | null;
}

export interface DisplaySettings {
  outline: number;
  mask: number;
  heat: number;
  brightness: number;
  contrast: number;
  stain: string;
  palette: string;
}

/** How a result was made, and how far it is. */
export interface ResultFacts {
  fingerprint: string;
  parameters: number;
  threshold: number;
  mpp: number;
  stainMatched: boolean;
  nuclei: number;
  done: number;
  wanted: number;
  segmentedPx: number;
}

export interface NamedRegion {
  name: string;
  polygons: Polygons;
  /** Class in the file that it comes from. */
  class?: string;
  colour?: [red: number, green: number, blue: number];
  /** UUID in files. */
  objectId?: string;
}

/** A painted line. */
export interface Stroke {
  /** `nucleus`, `background`, or the name of a type of nuclei. */
  class: string;
  /** Pixels of the finest level. */
  widthPx: number;
  points: PointPair[];
}

export type PaintedStroke = Stroke & { id: number };

/** Outcome of `Session.prepareTeaching`. */
export interface PreparedTeaching {
  /** Number of the model that is asked, in the session. */
  model: number;
  /** Pictures of which it is asked. */
  pictures: number;
  /** Types of nuclei that are new. */
  types: string[];
  /** Marks outside of the image. */
  outside: number;
}

/** Marks, or parts of large ones, that a model agrees with. */
export interface MarkAgreement {
  marks: number;
  before: number;
  after: number;
}

/** What was learned from. */
export interface TeachOutcome {
  best_step: number;
  held_back_loss: [before: number, after: number] | null;
  learned: MarkAgreement;
  held_back: MarkAgreement;
}

export interface TeachStep {
  done: number;
  total: number;
  loss: number;
  held_back_loss: number | null;
}

/** From the page to a teaching worker. */
export type TeachRequest =
  | { type: "begin"; module: WebAssembly.Module; task: Uint8Array }
  | { type: "gradients"; groups: number[] }
  | { type: "step"; gradients: Float32Array }
  | { type: "finish" };

/** From a teaching worker to the page. */
export type TeachReply =
  | { type: "begun"; groups: number }
  | { type: "gradients"; gradients: Float32Array[] }
  | { type: "stepped"; step: TeachStep }
  | { type: "finished"; outcome: string; weights: Float32Array }
  | { type: "failed"; message: string };

/** The page's state without outlines of nuclei. */
export interface PageState {
  document: DocumentFacts | null;
  pixelSize: PixelSizeSetting;
  model: ModelSetting;
  threshold: number | null;
  insideOnly: boolean;
  /** Whether the network reads the colours as they are. */
  keepStain: boolean;
  /** Numbers of marks. */
  marks: Record<MarkStatus, number>;
  regions: (NamedRegion & { id: number })[];
  strokes: PaintedStroke[];
  view: [x: number, y: number, scale: number] | null;
  display: DisplaySettings;
  results: [ResultFacts | null, ResultFacts | null];
  /** Changes whenever marks, regions or settings do. */
  revision: number;
  /** What would be undone and done again, for people. */
  undo: string | null;
  redo: string | null;
}

/** A change of the state: `ReviewCommand` of the Rust code. */
export type ReviewCommand =
  | { open: { document: DocumentFacts; pixel_size: PixelSizeSetting } }
  | { accept: ReviewObject }
  | { reject: ReviewObject }
  | { forget: ReviewObject }
  | { add: NucleusFacts }
  | { replace: { old: ReviewObject[]; new: NucleusFacts[] } }
  | "forget-all"
  | { "add-region": NamedRegion }
  | { "add-complete": { region: NamedRegion; nuclei: ReviewObject[] } }
  | { "add-regions": NamedRegion[] }
  | { "change-region": { id: number; region: NamedRegion } }
  | { "remove-region": number }
  | { "add-stroke": Stroke }
  | { "remove-stroke": number }
  | { "inside-only": boolean }
  | { "keep-stain": boolean }
  | { threshold: number | null }
  | { "pixel-size": PixelSizeSetting }
  | { model: ModelSetting }
  | { display: DisplaySettings }
  | { view: [number, number, number] | null }
  | { result: { slot: number; facts: ResultFacts | null } };

/** Methods of `Session` that return JSON text, and what the text holds. */
export interface JsonResults {
  adapters: AdapterFacts[];
  countsIn: ReviewCounts;
  drawNucleus: NucleusFacts;
  mergeNuclei: NucleusFacts;
  objectAt: ReviewObject | null;
  objectOf: ReviewObject | null;
  propose: NucleusFacts | null;
  scores: ScoreFacts;
  setReference: ReferenceFacts;
  splitNucleus: NucleusFacts[];
  summary: ReviewSummary;
  undecidedIn: ReviewObject[];
  addLink: ModelFacts;
  addModel: ModelFacts;
  addTaught: ModelFacts;
  find: NucleiSummary;
  openDevice: DeviceFacts;
  openImage: ImageFacts;
  openSample: ImageFacts;
  prune: ModelFacts;
  quantise: ModelFacts;
}

/**
 * Arguments of a method as they are posted. The bindings take plain arrays too, but only the
 * contents of typed arrays can be transferred.
 */
type Posted<Arguments extends unknown[]> = {
  [Index in keyof Arguments]: Exclude<Arguments[Index], number[]>;
};

/** Arguments that can be posted to a worker. Functions and objects of the wasm cannot. */
type Postable = string | number | boolean | Uint8Array | Float32Array;
/** Results that can be posted back. */
type PostableResult = Postable | Float64Array | void;

type SessionMethodName = Exclude<keyof Session & string, "free" | keyof OwnMethods>;

/** The name of a method if its arguments and its result can be posted. */
type IfPostable<Name extends SessionMethodName> =
  Posted<Parameters<Session[Name]>> extends Postable[]
    ? Awaited<ReturnType<Session[Name]>> extends PostableResult
      ? Name
      : never
    : never;

type SessionMethods = {
  [Name in SessionMethodName as IfPostable<Name>]: (
    ...args: Posted<Parameters<Session[Name]>>
  ) => ReturnType<Session[Name]>;
};

/** Methods that the page may call: those of the session, and those that the worker adds. */
export type WorkerMethods = OwnMethods & SessionMethods;
export type MethodName = keyof WorkerMethods;
export type MethodArguments<Name extends MethodName> = Parameters<WorkerMethods[Name]>;
export type MethodResult<Name extends MethodName> = Awaited<ReturnType<WorkerMethods[Name]>>;

type TextMethodName = {
  [Name in MethodName]: MethodResult<Name> extends string ? Name : never;
}[MethodName];

/** Methods whose result is JSON text. */
export type JsonMethodName = keyof JsonResults & TextMethodName;
/** Methods whose result is used as it is. */
export type PlainMethodName = Exclude<MethodName, keyof JsonResults>;

/** First message to a worker: its role, the compiled wasm, and the port for what follows. */
export type StartMessage =
  | { role: "session"; module: WebAssembly.Module; port: MessagePort; blockPorts: MessagePort[] }
  | { role: "block"; module: WebAssembly.Module; port: MessagePort }
  | { role: "outlines"; port: MessagePort };

/** From the page to the session worker. */
export interface CallMessage {
  id: number;
  name: MethodName;
  args: unknown[];
}

/** From the session worker to the page, without being called. */
export type WorkerEvent =
  | { type: "block"; slot: number; block: BlockRect }
  /** The segmentation of a slot starts again on another device. */
  | { type: "restart"; slot: number }
  | { type: "slide-progress"; progress: SlideProgress };

/** From the session worker to the page. */
export type SessionMessage =
  | WorkerEvent
  | { type: "result"; id: number; value: unknown }
  | { type: "error"; id: number; name: string; message: string }
  /** No call can be answered any more. */
  | { type: "fatal"; message: string };

/** What a block worker does. */
export type BlockWork =
  | {
      /** Model file, if another model than before. */
      model?: Uint8Array;
      /** Red, green and blue of the block and its context, row by row. */
      pixels: Uint8Array;
      block: BlockRect;
    }
  /** A block of a slide whose probabilities are kept. */
  | { task: Uint8Array };

/** From the session worker to a block worker. */
export type BlockRequest = { id: number } & BlockWork;

/** From a block worker to the session worker. */
export type BlockReply =
  /** Probabilities of the block, row by row. */
  | { id: number; values: Float32Array }
  /** Nuclei of a kept block, as `Session.slideTake` reads them. */
  | { id: number; nuclei: Uint8Array }
  | { id: number; error: string };
