//! A camera that a running worker has: this process is one more reader of its owner's ring.

use super::operator::{self, PATIENCE, Workers};
use crate::config::{Device, DeviceKind};
use crate::control::{Demand, FromOperator, ToOperator};
use crate::device::Failure;
use crate::job::{Anchor, Happening, Source};
use hal::process::monotonic_ns;
use protocol::room::Frame;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Access units of a backlog that are taken in a row: more than the longest that a ring holds.
const MAX_BACKLOG: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    runtime: Runtime,
    source: Source,
    anchor: Anchor,
    waiting: VecDeque<Vec<u8>>,
    unit: Vec<u8>,
    buffer: Vec<u8>,
}

impl View {
    /// `None` if no worker has this camera; `forbidden` says who might have had.
    pub(super) fn open(device: &Device, forbidden: &mut Option<String>) -> Result<Option<Self>, String> {
        let DeviceKind::Camera(camera) = &device.kind else { return Ok(None) };
        let runtime = operator::runtime()?;
        let mut workers = Workers::find();
        let question = FromOperator::Read { camera: device.name.clone(), device: camera.device.clone() };
        let answers = workers.ask(&runtime, &question, PATIENCE)?;
        *forbidden = workers.forbidden;
        match answers.into_iter().next() {
            Some((ToOperator::Source, mut beside)) => {
                let socket = beside.pop().ok_or("the worker gave no socket")?;
                Self::read(runtime, &device.name, socket).map(Some)
            }
            Some((answer, _)) => Err(format!("the worker answers {answer:?}")),
            None => Ok(None),
        }
    }

    fn read(runtime: Runtime, name: &str, socket: OwnedFd) -> Result<Self, String> {
        let now = Instant::now();
        let mut source = Source::new(name.to_owned(), now);
        source.demand(Demand::Live);
        {
            let _inside = runtime.enter();
            source.granted(socket).map_err(|e| e.to_string())?;
        }
        let anchor = Anchor::new(now, monotonic_ns());
        Ok(Self { runtime, source, anchor, waiting: VecDeque::new(), unit: Vec::new(), buffer: Vec::new() })
    }

    /// The next access unit, which [`View::unit`] gives; false if none comes for `patience`. The first is a keyframe.
    pub(super) fn next(&mut self, patience: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + patience;
        while self.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Self { runtime, source, .. } = self;
            let _inside = runtime.enter();
            let happening = runtime.block_on(async { timeout(left, poll_fn(|context| source.poll(context))).await });
            match happening {
                Ok(Happening::Rung) => self.take_all(),
                Ok(Happening::Attached(_) | Happening::Running) => {}
                Ok(Happening::Lost(why) | Happening::Gone(why)) => return Err(why.into()),
                Err(_) => return Ok(false),
            }
        }
        self.unit = self.waiting.pop_front().unwrap_or_default();
        Ok(true)
    }

    /// What [`View::next`] found.
    pub(super) fn unit(&self) -> &[u8] {
        &self.unit
    }

    /// There are newer ones already.
    pub(super) fn behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn take_all(&mut self) {
        loop {
            let before = self.waiting.len();
            let waiting = &mut self.waiting;
            let keep = |frame: Frame<'_>| {
                waiting.push_back(frame.data.to_vec());
                ControlFlow::Continue(())
            };
            if self.source.read(&self.anchor, &mut self.buffer, keep) {
                self.source.keyframe();
            }
            if self.waiting.len() == before || self.waiting.len() >= MAX_BACKLOG {
                return;
            }
        }
    }
}
