//! One slide: from its file to its nuclei, in steps that a run over many slides overlaps.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::engine::EngineArguments;
use super::output::{Output, stop_flag};
use super::output_files::{
    check_outputs, check_results, check_same_image, image_source, slide_result_name,
};
use super::segment::{counts_of_types, types_in_brackets};
use super::slide::open;
use super::slide_inputs::{SlideInput, file_of_slide};
use crate::engine::{SegmentOptions, Segmenter};
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted};
use crate::instances::Provenance;
use crate::model::{Model, NucleusType};
use crate::platform::{read_file, write_atomic, write_streamed};
use crate::raster::{encode_map_tiff, encode_overlay_png};
use crate::report::heat_map;
use crate::review::{DensityGrid, NamedRegion, RegionFile, RegionTable, RegionTableSettings};
use crate::slide::{SlideBounds, SlideReader};
use crate::whole_slide::{
    BLOCK_PX, BackgroundBlocks, BlockStore, RunSummary, SegmentSettings, SlideJob, SlideRegion,
    SlideRun, SlideSetup, write_finished,
};

/// Smaller blocks would be all context.
const LEAST_BLOCK_PX: usize = 64;
/// Longest file of outlines.
const MAX_TEXT_BYTES: u64 = 100_000_000;

/// Find the nuclei of whole slides: QuPath GeoJSON and CSV in pixels of the finest level.
///
/// Several slides, a folder or a list are worked on in one process, and DIR/slides.csv states what
/// was found in each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella slide segment biopsy.svs --model models/open-small.safetensors --out result
  prunella slide segment biopsy.svs --model m.safetensors --region 12000,8000,4000,4000 --out result
  prunella slide segment mosaic.tif --mpp 0.25 --model m.safetensors --out result \\
      --inside annotations.geojson
  prunella slide segment slides/ --model models/open-small.safetensors --out result
  prunella slide segment list.csv --model models/open-small.safetensors --out result
  prunella slide segment slides/ --model m.safetensors --regions drawn/ --grid 100 --out result

A list is a table with the column 'slide' (files, relative to the list's folder, or addresses) and,
where wanted, 'mpp' (µm), 'inside' and 'regions' (files of outlines) and 'name' (of the results).
A killed run goes on where it was when the same command is given again; finished slides are passed
over. A slide that cannot be read is noted in slides.csv, and the others are segmented.")]
pub(super) struct SlideSegmentArguments {
    /// Files or http(s) addresses, folders of slides, or lists (.csv).
    #[arg(required = true, value_name = "SLIDE|FOLDER|LIST.csv")]
    pub slides: Vec<String>,
    #[arg(long, short)]
    pub model: PathBuf,
    /// Folder for the results.
    #[arg(long, short)]
    pub out: PathBuf,
    /// Pixel size of the finest level, micrometres [default: what the slide states].
    #[arg(long, value_name = "UM")]
    pub mpp: Option<f64>,
    /// Only this rectangle: x,y,width,height in pixels of the finest level.
    #[arg(long, value_name = "X,Y,W,H", conflicts_with = "inside", allow_hyphen_values = true)]
    pub region: Option<SlideRegion>,
    /// Only inside the polygons of this file: QuPath's annotations as GeoJSON, or XML of
    /// ImageScope, HALO or ASAP. For several slides a folder that holds a file of the name of each.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub inside: Option<PathBuf>,
    /// Count and measure the nuclei in each region of this file, of which --inside reads the same
    /// kinds: NAME.regions.csv, by annotation and by class, and NAME.regions.geojson, which QuPath
    /// reads. For several slides a folder that holds a file of the name of each.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub regions: Option<PathBuf>,
    /// Write nuclei per mm² in squares of UM micrometres: NAME.density.tif (floating point) and
    /// NAME.density.png with a colour scale.
    #[arg(long, value_name = "UM")]
    pub grid: Option<f64>,
    /// Segment blocks without tissue too.
    #[arg(long, alias = "glass")]
    pub background: bool,
    /// Only the slide of a list whose results have this name, for a job of 'slide plan'.
    #[arg(long, hide = true, requires = "row")]
    pub only: Option<String>,
    /// Where its row goes instead of into the table.
    #[arg(long, hide = true, requires = "only")]
    pub row: Option<PathBuf>,
    #[command(flatten)]
    pub how: EngineArguments,
}

impl SlideSegmentArguments {
    /// All of a slide in a file.
    pub(super) fn of_file(
        slide: &Path,
        model: PathBuf,
        out: PathBuf,
        mpp: Option<f64>,
        how: EngineArguments,
    ) -> Self {
        let slides = vec![slide.to_string_lossy().into_owned()];
        Self {
            slides,
            model,
            out,
            mpp,
            region: None,
            inside: None,
            regions: None,
            grid: None,
            background: false,
            only: None,
            row: None,
            how,
        }
    }
}

/// Segments a slide into the files that the result names.
///
/// # Errors
/// Those of reading, computing and writing.
pub(super) fn segment_slide(a: &SlideSegmentArguments, output: Output) -> Result<SlideResult> {
    let place = a.slides.first().map(String::as_str).unwrap_or_default();
    let input = SlideInput::of_place(place, slide_result_name(place));
    segment_input(a, &input, output)
}

/// The same for a slide of which more may be known.
///
/// # Errors
/// As [`segment_slide`].
pub(super) fn segment_input(
    a: &SlideSegmentArguments,
    input: &SlideInput,
    output: Output,
) -> Result<SlideResult> {
    let begun = Instant::now();
    let files = SlideFiles::of(&a.out, &input.name);
    files.check(a, input)?;
    if files.geojson.exists() {
        output.remark(&format!("{} exists already and is replaced", files.geojson.display()));
    }
    let mut shown = 0;
    let mut show = |notes: &Warnings| {
        for note in &notes.notes[shown..] {
            output.remark(&format!("{}: {note}", input.place));
        }
        shown = notes.notes.len();
    };
    let reader = open(&input.place)?;
    let common = SlideCommon::new(a, Arc::new(Model::load(&a.model)?))?;
    let opened = common.describe(input, reader)?;
    show(&opened.notes);
    let prepared = common.prepare(opened)?;
    show(&prepared.opened.notes);
    let segmenter = a.how.open(Arc::clone(&common.model), output)?;
    let bar = output.bar(1, &input.name);
    bar.set_message("blocks");
    let computed = common.compute(prepared, &segmenter, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let (mut result, notes) = common.write(computed)?;
    show(&notes);
    result.seconds = begun.elapsed().as_secs_f64();
    Ok(result)
}

/// Files of a slide's results.
#[derive(Debug, Clone)]
pub(super) struct SlideFiles {
    pub geojson: PathBuf,
    pub csv: PathBuf,
    regions_csv: PathBuf,
    regions_geojson: PathBuf,
    density_tiff: PathBuf,
    density_png: PathBuf,
    /// Folder of finished blocks while the slide is worked on.
    parts: PathBuf,
}

impl SlideFiles {
    /// `name` may hold folders.
    pub(super) fn of(out: &Path, name: &str) -> Self {
        let file = |ending: &str| out.join(format!("{name}.{ending}"));
        Self {
            geojson: file("geojson"),
            csv: file("csv"),
            regions_csv: file("regions.csv"),
            regions_geojson: file("regions.geojson"),
            density_tiff: file("density.tif"),
            density_png: file("density.png"),
            parts: file("parts"),
        }
    }

    /// All that a command leaves.
    pub(super) fn results(&self, a: &SlideSegmentArguments, input: &SlideInput) -> Vec<PathBuf> {
        let mut results = vec![self.geojson.clone(), self.csv.clone()];
        if a.regions.is_some() || input.regions.is_some() {
            results.extend([self.regions_csv.clone(), self.regions_geojson.clone()]);
        }
        if a.grid.is_some() {
            results.extend([self.density_tiff.clone(), self.density_png.clone()]);
        }
        results
    }

    /// Names a run and the files that it left, so that files of a later run are not taken for its;
    /// none where they are missing.
    pub(super) fn run_name(&self, run_id: &str) -> Option<String> {
        let bytes = |file: &Path| std::fs::metadata(file).ok().map(|metadata| metadata.len());
        Some(format!("{run_id}-{}-{}", bytes(&self.csv)?, bytes(&self.geojson)?))
    }

    /// Notes what an earlier run made of other nuclei and this one does not make again.
    fn note_outdated(&self, a: &SlideSegmentArguments, input: &SlideInput, notes: &mut Warnings) {
        let written = self.results(a, input);
        for file in [&self.regions_csv, &self.regions_geojson, &self.density_tiff] {
            if file.is_file() && !written.contains(file) {
                notes.note(format!(
                    "{} is of an earlier run and was not made again",
                    file.display()
                ));
            }
        }
    }

    /// Refuses to replace what is no result, or one of another slide.
    ///
    /// # Errors
    /// A sentence with the file.
    pub(super) fn check(&self, a: &SlideSegmentArguments, input: &SlideInput) -> Result<()> {
        let mut inputs = vec![PathBuf::from(&input.place), a.model.clone()];
        let outlines = [&a.inside, &input.inside, &a.regions, &input.regions];
        inputs.extend(outlines.into_iter().flatten().cloned());
        check_results(&self.results(a, input), &inputs)?;
        check_same_image(&self.geojson, &image_source(&input.place))?;
        check_outputs(&[self.parts.join("run.txt")], &[])
    }
}

/// What is the same for all slides of a command.
pub(super) struct SlideCommon<'a> {
    arguments: &'a SlideSegmentArguments,
    pub model: Arc<Model>,
    options: SegmentOptions,
}

/// A slide whose levels are known.
pub(super) struct OpenedSlide {
    input: SlideInput,
    reader: SlideReader,
    mpp_um: f64,
    region: SlideRegion,
    /// In which nuclei are counted and measured.
    regions: Option<RegionFile>,
    /// Names the slide, the model and the settings, so everything that decides its nuclei.
    pub run_id: String,
    pub notes: Warnings,
    seconds: f64,
}

impl OpenedSlide {
    /// The whole slide.
    fn bounds(&self) -> SlideBounds {
        let (width, height) =
            self.reader.slide.levels.first().map_or((0, 0), |level| (level.width, level.height));
        SlideBounds::of_size(width, height)
    }
}

/// A slide whose tissue and stain are known.
pub(super) struct PreparedSlide {
    pub opened: OpenedSlide,
    job: SlideJob,
}

impl PreparedSlide {
    /// Number of blocks that are to be computed, with those that an earlier run finished.
    pub(super) fn blocks(&self) -> usize {
        self.job.needed().len()
    }
}

/// A slide all of whose blocks are finished.
pub(super) struct ComputedSlide {
    prepared: PreparedSlide,
    store: BlockStore,
    summary: RunSummary,
    device: String,
}

impl ComputedSlide {
    /// As of [`OpenedSlide::run_id`].
    pub(super) fn run_id(&self) -> &str {
        &self.prepared.opened.run_id
    }
}

impl<'a> SlideCommon<'a> {
    /// # Errors
    /// For settings that are no use.
    pub(super) fn new(arguments: &'a SlideSegmentArguments, model: Arc<Model>) -> Result<Self> {
        let options = arguments.how.options()?;
        if options.block_px.is_some_and(|px| px < LEAST_BLOCK_PX) {
            return Err(Error::invalid(format!(
                "Blocks of a slide are at least {LEAST_BLOCK_PX} pixels wide"
            )));
        }
        Ok(Self { arguments, model, options })
    }

    /// Opens a slide.
    ///
    /// # Errors
    /// Those of the source; a slide without pixel size; a region beside the slide.
    pub(super) fn open(&self, input: &SlideInput) -> Result<OpenedSlide> {
        let begun = Instant::now();
        let mut opened = self.describe(input, open(&input.place)?)?;
        opened.seconds = begun.elapsed().as_secs_f64();
        Ok(opened)
    }

    /// What is to be known of an open slide before its pixels are read.
    fn describe(&self, input: &SlideInput, reader: SlideReader) -> Result<OpenedSlide> {
        let mut notes = Warnings::default();
        reader.slide.notes.iter().for_each(|note| notes.note(note));
        let mpp_um = self.pixel_size(input, &reader)?;
        let region = self.region(input, &reader, &mut notes)?;
        let regions = self.regions(input, &reader, &mut notes)?;
        let run_id = self.run_id(&reader, &region, mpp_um)?;
        let opened = OpenedSlide {
            input: input.clone(),
            reader,
            mpp_um,
            region,
            regions,
            run_id,
            notes,
            seconds: 0.0,
        };
        // Settings that are no use are refused before hours of work.
        self.grid(&opened)?;
        Ok(opened)
    }

    /// Finds tissue and stain.
    ///
    /// # Errors
    /// Those of reading; [`Error::Cancelled`] when asked to stop.
    pub(super) fn prepare(&self, mut opened: OpenedSlide) -> Result<PreparedSlide> {
        let begun = Instant::now();
        let (a, model) = (self.arguments, &self.model);
        let settings = SegmentSettings {
            parameters: a.how.instances(model),
            region: opened.region.clone(),
            mpp_um: Some(opened.mpp_um),
            stain: model.card().stain_matching(a.how.stain),
            background: self.background(),
            block_px: self.options.block_px.unwrap_or(BLOCK_PX),
        };
        let setup = SlideSetup::of_slide(&opened.reader.slide, model.card().mpp_um, settings)?;
        let job = setup.complete(&opened.reader, stop_flag())?;
        if let Some(note) = job.stain_note() {
            opened.notes.note(note);
        }
        opened.seconds += begun.elapsed().as_secs_f64();
        Ok(PreparedSlide { opened, job })
    }

    /// Computes the blocks that are not finished; `progress` gets the number of finished ones and
    /// of all.
    ///
    /// # Errors
    /// Those of [`SlideRun::fill`]; blocks of another run in the place of this one's.
    pub(super) fn compute(
        &self,
        mut prepared: PreparedSlide,
        segmenter: &Segmenter,
        progress: &dyn Fn(usize, usize),
    ) -> Result<ComputedSlide> {
        let begun = Instant::now();
        let run = SlideRun {
            job: &prepared.job,
            source: &prepared.opened.reader,
            segmenter,
            options: SegmentOptions { block_px: None, ..self.options },
            cancel: stop_flag(),
        };
        let identity = identity(&run, &prepared.opened.reader)?;
        let files = SlideFiles::of(&self.arguments.out, &prepared.opened.input.name);
        let store = BlockStore::open(&files.parts, &identity)?;
        let summary = run.fill(&store, progress)?;
        prepared.opened.notes.extend(summary.warnings.clone());
        prepared.opened.seconds += begun.elapsed().as_secs_f64();
        Ok(ComputedSlide { prepared, store, summary, device: segmenter.device().name() })
    }

    /// Writes the results, each whole, and removes the blocks.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&self, computed: ComputedSlide) -> Result<(SlideResult, Warnings)> {
        let begun = Instant::now();
        let ComputedSlide { prepared, store, summary, device } = computed;
        let PreparedSlide { mut opened, job } = prepared;
        let files = SlideFiles::of(&self.arguments.out, &opened.input.name);
        let provenance = Provenance {
            model: self.model.fingerprint(),
            mpp_um: Some(opened.mpp_um),
            image: Some(image_source(&opened.input.place)),
            types: NucleusType::among(&self.model.card().classes),
        };
        let counts = write_streamed(&files.geojson, |features| {
            write_streamed(&files.csv, |table| {
                write_finished(&job, &store, &provenance, features, table)
            })
        })?;
        self.write_maps(&opened)?;
        store.remove();
        files.note_outdated(self.arguments, &opened.input, &mut opened.notes);
        let has_regions = opened.regions.is_some();
        let has_grid = self.arguments.grid.is_some();
        let tissue_mm2 = job.tissue_px() * (opened.mpp_um / 1000.0).powi(2);
        let result = SlideResult {
            slide: opened.input.place,
            nuclei: counts.nuclei,
            nuclei_per_mm2: (tissue_mm2 > 0.0).then(|| counts.nuclei as f64 / tissue_mm2),
            types: counts_of_types(&provenance.types, &counts),
            blocks: summary.blocks,
            skipped_blocks: summary.skipped,
            resumed_blocks: summary.resumed,
            tissue_mm2,
            tissue_share: job.tissue().share(),
            device,
            mpp_um: opened.mpp_um,
            scale: job.scale(),
            stain_matched: job.stain_lut().is_some(),
            seconds: opened.seconds + begun.elapsed().as_secs_f64(),
            read_seconds: summary.seconds.read,
            decode_seconds: opened.reader.decode_secs(),
            network_seconds: summary.seconds.network,
            object_seconds: summary.seconds.objects,
            geojson: files.geojson,
            csv: files.csv,
            regions_csv: has_regions.then_some(files.regions_csv),
            regions_geojson: has_regions.then_some(files.regions_geojson),
            density_tiff: has_grid.then_some(files.density_tiff),
            density_png: has_grid.then_some(files.density_png),
        };
        Ok((result, opened.notes))
    }

    /// Writes what is made of the table of nuclei: regions with what is in them, maps of density.
    ///
    /// # Errors
    /// When the table cannot be read or a file cannot be written.
    pub(super) fn write_maps(&self, opened: &OpenedSlide) -> Result<()> {
        let files = SlideFiles::of(&self.arguments.out, &opened.input.name);
        let table = || {
            let file = std::fs::File::open(&files.csv);
            let file = file.map_err(|e| Error::io("The table of nuclei cannot be opened", e));
            Ok::<_, Error>(BufReader::new(file.at(&files.csv)?))
        };
        if let Some(regions) = &opened.regions {
            let types = NucleusType::among(&self.model.card().classes);
            let settings = RegionTableSettings {
                slide: opened.bounds(),
                segmented: opened.region.polygons(),
                mpp_um: opened.mpp_um,
                types: types.into_iter().map(|of| of.name).collect(),
            };
            let measured = RegionTable::new(regions, settings, table()?).at(&files.csv)?;
            write_atomic(&files.regions_csv, measured.csv(&opened.input.name).as_bytes())?;
            write_streamed(&files.regions_geojson, |target| {
                measured.write_geojson(&self.model.fingerprint(), target)
            })?;
        }
        if let (Some(mut grid), Some(side_um)) = (self.grid(opened)?, self.arguments.grid) {
            grid.add_nuclei(table()?).at(&files.csv)?;
            let densities = grid.densities()?;
            write_atomic(&files.density_tiff, &encode_map_tiff(&densities, side_um)?)?;
            let picture = encode_overlay_png(&heat_map(&densities, side_um))?;
            write_atomic(&files.density_png, &picture)?;
        }
        Ok(())
    }

    /// The empty grid, where one is asked for.
    fn grid(&self, opened: &OpenedSlide) -> Result<Option<DensityGrid>> {
        let Some(side_um) = self.arguments.grid else { return Ok(None) };
        let segmented = opened.region.polygons();
        let (slide, mpp_um) = (opened.bounds(), opened.mpp_um);
        DensityGrid::new(&slide, segmented.as_deref(), mpp_um, side_um).map(Some)
    }

    fn background(&self) -> BackgroundBlocks {
        if self.arguments.background { BackgroundBlocks::Segment } else { BackgroundBlocks::Skip }
    }

    /// Of the finest level, µm.
    fn pixel_size(&self, input: &SlideInput, reader: &SlideReader) -> Result<f64> {
        let stated = input.mpp.or(self.arguments.mpp).or(reader.slide.mpp_um);
        let mpp = stated.ok_or_else(|| {
            Error::invalid("The slide states no pixel size; give it with --mpp, in micrometres")
                .at(&input.place)
        })?;
        if mpp.is_finite() && mpp > 0.0 {
            return Ok(mpp);
        }
        Err(Error::invalid("The pixel size must be a positive number of micrometres"))
    }

    fn region(
        &self,
        input: &SlideInput,
        reader: &SlideReader,
        notes: &mut Warnings,
    ) -> Result<SlideRegion> {
        let region = match (&self.arguments.region, self.inside(input)?) {
            (Some(rectangle), _) => rectangle.clone(),
            (None, None) => SlideRegion::Everything,
            (None, Some(file)) => {
                let bytes = read_file(&file, MAX_TEXT_BYTES)?;
                let (region, remarks) = SlideRegion::from_outlines(&bytes).at(file)?;
                notes.extend(remarks);
                region
            }
        };
        if let Some(finest) = reader.slide.levels.first() {
            region.check_within(finest.width, finest.height)?;
        }
        Ok(region)
    }

    /// The regions in which nuclei are counted; none where none are asked for or the folder holds
    /// none for the slide, with a note.
    fn regions(
        &self,
        input: &SlideInput,
        reader: &SlideReader,
        notes: &mut Warnings,
    ) -> Result<Option<RegionFile>> {
        let file = match (&input.regions, &self.arguments.regions) {
            (Some(own), _) => own.clone(),
            (None, Some(folder)) if folder.is_dir() => {
                let Some(file) = file_of_slide(folder, input) else {
                    notes.note(format!(
                        "No regions: {} holds no file named as the slide, such as {}.geojson",
                        folder.display(),
                        input.name
                    ));
                    return Ok(None);
                };
                file
            }
            (None, Some(file)) => file.clone(),
            (None, None) => return Ok(None),
        };
        let regions = RegionFile::read(&read_file(&file, MAX_TEXT_BYTES)?).at(&file)?;
        regions.notes.iter().for_each(|note| notes.note(note));
        if regions.regions.is_empty() {
            return Err(Error::invalid(format!(
                "The file holds no annotation, only {}",
                counted(regions.detections, "detection", "detections")
            ))
            .at(file));
        }
        if let Some(finest) = reader.slide.levels.first() {
            let slide = SlideBounds::of_size(finest.width, finest.height);
            let beside = |region: &&NamedRegion| !region.bounds().intersects(&slide);
            let beside = regions.regions.iter().filter(beside).count();
            if beside > 0 {
                notes.note(format!(
                    "{} outside the slide, which has {} × {} pixels; are they of another slide?",
                    counted(beside, "region lies", "regions lie"),
                    finest.width,
                    finest.height
                ));
            }
        }
        Ok(Some(regions))
    }

    /// The file of polygons inside which nuclei are looked for.
    fn inside(&self, input: &SlideInput) -> Result<Option<PathBuf>> {
        if let Some(own) = &input.inside {
            return Ok(Some(own.clone()));
        }
        match &self.arguments.inside {
            Some(folder) if folder.is_dir() => match file_of_slide(folder, input) {
                Some(file) => Ok(Some(file)),
                None => Err(Error::invalid(format!(
                    "The folder holds no file of outlines named as the slide, such as {}.geojson",
                    input.name
                ))
                .at(folder)),
            },
            file => Ok(file.clone()),
        }
    }

    /// Names everything that decides a slide's nuclei, as far as it is known before its pixels are
    /// read: tissue and stain follow from it.
    fn run_id(&self, reader: &SlideReader, region: &SlideRegion, mpp_um: f64) -> Result<String> {
        let a = self.arguments;
        let text = format!(
            "prunella {} {} {} {:?} {:?} {} {} {:?} {:?} {mpp_um}",
            env!("CARGO_PKG_VERSION"),
            self.model.fingerprint(),
            reader.identity()?,
            a.how.instances(&self.model),
            region,
            self.options.block_px.unwrap_or(BLOCK_PX),
            self.options.stride,
            self.background(),
            a.how.stain,
        );
        let mut id = crate::model::sha256_hex(text.as_bytes());
        id.truncate(RUN_ID_DIGITS);
        Ok(id)
    }
}

/// Digits of a run's id in the table.
const RUN_ID_DIGITS: usize = 16;

/// All that decides a block's nuclei: finished blocks of another run are not taken.
fn identity(run: &SlideRun<'_>, reader: &SlideReader) -> Result<String> {
    let settings = run.job.settings();
    Ok(format!(
        "prunella {} {} {} {:?} {:?} {} {} {} {} {} {:?}\n",
        env!("CARGO_PKG_VERSION"),
        run.segmenter.model().fingerprint(),
        reader.identity()?,
        settings.parameters,
        settings.region,
        run.job.scale(),
        settings.block_px,
        run.options.stride,
        settings.background == BackgroundBlocks::Segment,
        settings.mpp_um.unwrap_or_default(),
        run.job.stain_lut(),
    ))
}

/// What `slide segment --json` prints, keys in alphabetical order. The stages of reading, network
/// and objects overlap.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SlideResult {
    blocks: usize,
    pub csv: PathBuf,
    /// Of all threads together.
    decode_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    density_png: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    density_tiff: Option<PathBuf>,
    device: String,
    pub geojson: PathBuf,
    mpp_um: f64,
    network_seconds: f64,
    pub nuclei: usize,
    /// Of tissue; none where there is none.
    pub nuclei_per_mm2: Option<f64>,
    object_seconds: f64,
    read_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions_csv: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions_geojson: Option<PathBuf>,
    resumed_blocks: usize,
    scale: f64,
    pub seconds: f64,
    skipped_blocks: usize,
    pub slide: String,
    stain_matched: bool,
    /// Inside the region that is segmented.
    pub tissue_mm2: f64,
    tissue_share: f64,
    /// Numbers of nuclei of each type, where the model tells several apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<BTreeMap<String, usize>>,
}

impl SlideResult {
    /// A line of the text output.
    pub(super) fn describe(&self) -> String {
        format!(
            "{}: {}{} in {} of {}, {:.1} s (network {:.1}, objects {:.1}; reading \
             beside it {:.1}) → {}",
            self.slide,
            counted(self.nuclei, "nucleus", "nuclei"),
            types_in_brackets(self.types.as_ref()),
            self.blocks - self.skipped_blocks,
            counted(self.blocks, "block", "blocks"),
            self.seconds,
            self.network_seconds,
            self.object_seconds,
            self.read_seconds,
            self.geojson.display()
        )
    }
}
