//! Cells of a study in processes of their own, each `prunella study cell`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::output::stop_flag;
use crate::engine::{Control, DeviceChoice};
use crate::error::{Error, Result};
use crate::study::{Cell, NetworkChoice};

/// Time between looks at the running processes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What all processes of a study have in common.
pub(super) struct ProcessSettings<'a> {
    /// Folder of the study.
    pub study: &'a Path,
    /// Folder of labelled tiles.
    pub data: Option<&'a Path>,
    /// At least one; processes take turns on them.
    pub devices: &'a [DeviceChoice],
}

impl ProcessSettings<'_> {
    /// Pre-trains a network on the first device, with all cores.
    ///
    /// # Errors
    /// When the process cannot be started or fails.
    pub(super) fn pretrain(&self, network: NetworkChoice) -> Result<()> {
        let process = self.start(&["--pretrain", network.name()], 0, crate::platform::threads())?;
        wait(process, network.name())
    }

    /// Starts `prunella study cell` on the device of a slot.
    fn start(&self, arguments: &[&str], slot: usize, threads: usize) -> Result<Child> {
        let program =
            std::env::current_exe().map_err(|e| Error::io("The program cannot find itself", e))?;
        let device = self.devices[slot % self.devices.len()];
        let mut command = Command::new(&program);
        command.args(["study", "cell"]).arg(self.study).args(arguments);
        command.args(["--device", &device.to_string()]);
        if let Some(data) = self.data {
            command.arg("--data").arg(data);
        }
        command
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io("A job cannot be started", e))
    }
}

/// A fixed number of processes at a time.
pub(super) struct CellProcesses<'a> {
    settings: ProcessSettings<'a>,
    slots: usize,
    running: Vec<CellProcess<'a>>,
}

struct CellProcess<'a> {
    process: Child,
    cell: &'a Cell,
    /// Below the number of slots, and different from the other running processes'.
    slot: usize,
}

impl<'a> CellProcesses<'a> {
    pub(super) fn new(settings: ProcessSettings<'a>, slots: usize) -> Self {
        Self { settings, slots, running: Vec::new() }
    }

    /// Computes all cells; `on_done` is called after each.
    ///
    /// # Errors
    /// The first failure of a process, or [`Error::Cancelled`] after Ctrl-C; the other processes
    /// are then killed. They resume from their checkpoints in the next run.
    pub(super) fn run(
        mut self,
        cells: &'a [Cell],
        on_done: &mut dyn FnMut(&Cell) -> Result<()>,
    ) -> Result<()> {
        let finished = self.run_all(cells, on_done);
        for job in &mut self.running {
            // It may have ended meanwhile.
            drop(job.process.kill());
        }
        finished
    }

    fn run_all(
        &mut self,
        cells: &'a [Cell],
        on_done: &mut dyn FnMut(&Cell) -> Result<()>,
    ) -> Result<()> {
        let control = Control { cancel: Some(stop_flag()), ..Control::default() };
        let threads = (crate::platform::threads() / self.slots).max(1);
        let mut waiting = cells.iter();
        loop {
            while let Some(slot) = self.free_slot() {
                let Some(cell) = waiting.next() else { break };
                let process = self.settings.start(&["--id", &cell.id], slot, threads)?;
                self.running.push(CellProcess { process, cell, slot });
            }
            if self.running.is_empty() {
                return Ok(());
            }
            match self.take_ended() {
                Some(CellProcess { process, cell, .. }) => {
                    wait(process, &cell.id)?;
                    on_done(cell)?;
                }
                None => std::thread::sleep(POLL_INTERVAL),
            }
            control.check()?;
        }
    }

    fn free_slot(&self) -> Option<usize> {
        (0..self.slots).find(|slot| self.running.iter().all(|job| job.slot != *slot))
    }

    /// Removes a process that has ended from the running ones.
    fn take_ended(&mut self) -> Option<CellProcess<'a>> {
        for index in 0..self.running.len() {
            let is_running = matches!(self.running[index].process.try_wait(), Ok(None));
            if !is_running {
                return Some(self.running.swap_remove(index));
            }
        }
        None
    }
}

/// Waits for a process; the last line of its messages is the reason when it failed.
fn wait(process: Child, name: &str) -> Result<()> {
    let ended =
        process.wait_with_output().map_err(|e| Error::io("A job cannot be waited for", e))?;
    if ended.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&ended.stderr);
    let reason = messages.lines().last().unwrap_or("without a message");
    Err(Error::mismatch(format!("{name} failed: {reason}")))
}
