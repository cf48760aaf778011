//! Versions of the model that a person taught on an image: the list, and how it is kept.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state_store::StateStore;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{FileLimits, Model, Precision};
use crate::review::ModelSetting;
use crate::train::TeachOutcome;

/// Version of the list; another one is not read.
const FORMAT: u32 = 1;
/// Most versions of an image.
pub(super) const MAX_VERSIONS: usize = 20;
/// File of the list among those of an image.
const LIST: &str = "versions.json";
/// Largest list, bytes.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// A model that was taught and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelVersion {
    /// From 1 on, in the order in which they were kept.
    pub number: u32,
    /// Of the model.
    pub fingerprint: String,
    /// Marks that it was taught from.
    pub marks: usize,
    /// How it came about.
    pub outcome: TeachOutcome,
}

/// The model that was taught first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Origin {
    setting: ModelSetting,
    /// Of the model before filters are removed from it.
    fingerprint: String,
}

/// The versions of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelVersions {
    format: u32,
    origin: Option<Origin>,
    versions: Vec<ModelVersion>,
    /// The number that was given last.
    last: u32,
    /// Whether there are versions whose list cannot be read: none is written over them.
    #[serde(skip)]
    is_unreadable: bool,
}

/// Models by the fingerprints that settings name.
type NamedModels = Vec<(String, Arc<Model>)>;

/// Name of a version's file among those of an image; 0 is the model that was taught first.
fn model_file(number: u32) -> String {
    format!("version-{number}.safetensors")
}

fn setting_of(fingerprint: &str) -> ModelSetting {
    ModelSetting { loaded: Some(fingerprint.to_owned()), ..ModelSetting::default() }
}

impl ModelVersions {
    /// In place of a list that cannot be read.
    pub(super) fn unreadable() -> Self {
        Self { is_unreadable: true, ..Self::default() }
    }

    /// All of them in their order.
    pub(super) fn all(&self) -> &[ModelVersion] {
        &self.versions
    }

    /// Whether there is one.
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Whether a setting names one of these models, or the one that was taught first.
    pub(super) fn hold(&self, setting: &ModelSetting) -> bool {
        self.number_of(setting).is_some()
    }

    /// The version that a setting names: 0 for the model that was taught first.
    pub(super) fn number_of(&self, setting: &ModelSetting) -> Option<u32> {
        let own = |version: &&ModelVersion| setting.loaded.as_ref() == Some(&version.fingerprint);
        if let Some(version) = self.versions.iter().find(own) {
            return Some(version.number);
        }
        let origin = self.origin.as_ref()?;
        (origin.setting.loaded == setting.loaded).then_some(0)
    }

    /// The setting of a version.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none of that number.
    pub(super) fn setting(&self, number: u32) -> Result<ModelSetting> {
        if let (0, Some(origin)) = (number, &self.origin) {
            return Ok(origin.setting.clone());
        }
        let version = self.versions.iter().find(|version| version.number == number);
        version
            .map(|version| setting_of(&version.fingerprint))
            .ok_or_else(|| Error::invalid(format!("There is no version {number} of the model")))
    }

    /// Refuses a version too many, and any beside those that cannot be read.
    fn check_room(&self) -> Result<()> {
        if self.is_unreadable {
            return Err(Error::malformed(
                "The versions that are kept of this image cannot be read, and none is written over \
                 them; forget what is kept of the image first",
            ));
        }
        if self.versions.len() < MAX_VERSIONS {
            return Ok(());
        }
        Err(Error::limit(format!(
            "There are {MAX_VERSIONS} versions of the model already: remove one, after saving it \
             as a file if it is of use"
        )))
    }

    /// Adds a version. The first one keeps the model that it was taught from too: `setting`, and
    /// `unpruned`, from which that removes filters. A model that is there already stays the version
    /// that it is.
    pub(super) fn add(
        &mut self,
        setting: &ModelSetting,
        unpruned: &Model,
        version: ModelVersion,
        model: &Model,
        files: &mut VersionFiles<'_>,
    ) -> Result<u32> {
        let is_same = |known: &&ModelVersion| known.fingerprint == version.fingerprint;
        if let Some(same) = self.versions.iter().find(is_same) {
            // The same marks taught the same model the same.
            return Ok(same.number);
        }
        self.check_room()?;
        let number = self.last + 1;
        let bytes = model.to_bytes(Precision::F32)?;
        // The first one of those that are left may come from another model.
        if self.origin.is_none() || self.versions.is_empty() {
            files.put(&model_file(0), unpruned.to_bytes(Precision::F32)?);
            let fingerprint = unpruned.fingerprint();
            self.origin = Some(Origin { setting: setting.clone(), fingerprint });
        }
        files.put(&model_file(number), bytes);
        self.format = FORMAT;
        self.last = number;
        self.versions.push(ModelVersion { number, ..version });
        self.save(files)?;
        Ok(number)
    }

    /// Removes a version.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none of that number.
    pub(super) fn remove(&mut self, number: u32, files: &mut VersionFiles<'_>) -> Result<()> {
        if number == 0 {
            return Err(Error::invalid("The model that was taught first stays"));
        }
        self.setting(number)?;
        self.versions.retain(|version| version.number != number);
        files.remove(&model_file(number));
        self.save(files)
    }

    fn save(&self, files: &mut VersionFiles<'_>) -> Result<()> {
        let list = serde_json::to_vec(self)
            .map_err(|e| Error::malformed("The versions cannot be written").caused_by(e))?;
        files.put(LIST, list);
        Ok(())
    }

    /// The versions that are kept of an image, and their models. A version whose file is broken is
    /// left out, and `problems` says so. `program` is the model of the program.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a list that cannot be read.
    pub(super) fn read(
        files: &VersionFiles<'_>,
        program: &Model,
        problems: &mut Vec<Error>,
    ) -> Result<(Self, NamedModels)> {
        let Some(bytes) = files.get(LIST, MAX_LIST_BYTES)? else {
            return Ok((Self::default(), Vec::new()));
        };
        let mut list: Self = serde_json::from_slice(&bytes).map_err(|e| {
            Error::malformed("The list of versions of the model cannot be read").caused_by(e)
        })?;
        if list.format != FORMAT || list.versions.len() > MAX_VERSIONS {
            return Err(Error::malformed(
                "The list of versions of the model is of another program",
            ));
        }
        let mut models = Vec::new();
        list.versions.retain(|version| match read_model(files, version.number) {
            Ok(model) if model.fingerprint() == version.fingerprint => {
                models.push((version.fingerprint.clone(), Arc::new(model)));
                true
            }
            Ok(_) => {
                problems.push(Error::mismatch(format!(
                    "Version {} of the model is not the one that was kept",
                    version.number
                )));
                false
            }
            Err(error) => {
                problems.push(error);
                false
            }
        });
        if let Some(origin) = &mut list.origin {
            let is_programs = origin.setting.loaded.is_none();
            if !is_programs || program.fingerprint() != origin.fingerprint {
                // A later program has another model.
                match read_model(files, 0) {
                    Ok(model) => {
                        let fingerprint = model.fingerprint();
                        origin.setting.loaded = Some(fingerprint.clone());
                        models.push((fingerprint, Arc::new(model)));
                    }
                    Err(error) => problems.push(error),
                }
            }
        }
        Ok((list, models))
    }
}

fn read_model(files: &VersionFiles<'_>, number: u32) -> Result<Model> {
    let name = model_file(number);
    let limits = FileLimits::default();
    let bytes = files.get(&name, limits.max_bytes)?.ok_or_else(|| {
        Error::malformed(format!("The file of version {number} of the model is gone"))
    })?;
    Model::from_bytes(&bytes, limits).at(&name)
}

/// The files of an image among those that are kept.
pub(super) struct VersionFiles<'a> {
    pub store: &'a mut StateStore,
    /// Fingerprint of the image; of an empty one nothing is kept.
    pub image: String,
}

impl VersionFiles<'_> {
    fn put(&mut self, name: &str, bytes: Vec<u8>) {
        if !self.image.is_empty() {
            self.store.save_part(&self.image, name, bytes);
        }
    }

    fn get(&self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        if self.image.is_empty() {
            return Ok(None);
        }
        self.store.part(&self.image, name, max_bytes)
    }

    fn remove(&mut self, name: &str) {
        if !self.image.is_empty() {
            self.store.remove_part(&self.image, name);
        }
    }
}
