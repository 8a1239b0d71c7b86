//! `jobs`: what the workers of this board are doing, and how to end a job of theirs.

use super::exit;
use super::operator::{self, PATIENCE, Workers};
use crate::control::{FromOperator, MAX_JOBS, ToOperator, WorkerJobs};
use hal::process::read_sealed;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// For the end of a job: its hooks may take as long as `shutdown_timeout_s`, which is a day at most, and it is killed then.
const ENDING: Duration = Duration::from_secs(24 * 3600 + 60);

pub(super) fn print(json: bool) -> ExitCode {
    let text = all().map(|workers| match json {
        true => format!("{:#}\n", serde_json::json!(workers)),
        false => table(&workers),
    });
    told(text)
}

pub(super) fn stop(id: &str) -> ExitCode {
    told(end(id))
}

/// A closed stdout is no reason to panic.
fn told(text: Result<String, String>) -> ExitCode {
    let written =
        text.and_then(|text| std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("stdout: {e}")));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("firmware-worker: {why}");
            exit::FAILURE.into()
        }
    }
}

fn all() -> Result<Vec<WorkerJobs>, String> {
    let mut found = Workers::find();
    let answers = found.ask(&operator::runtime()?, &FromOperator::Jobs, PATIENCE)?;
    if answers.is_empty()
        && let Some(why) = found.missing()
    {
        return Err(why);
    }
    let body = |(_, mut beside): operator::Answer| {
        let bytes =
            beside.pop().map(|memfd| read_sealed(memfd, MAX_JOBS)).transpose().map_err(|e| format!("jobs: {e}"))?;
        serde_json::from_slice(&bytes.unwrap_or_default()).map_err(|e| format!("jobs: {e}"))
    };
    answers.into_iter().map(body).collect()
}

fn end(id: &str) -> Result<String, String> {
    let mut found = Workers::find();
    let question = FromOperator::Stop { job: id.to_owned() };
    let answers = found.ask(&operator::runtime()?, &question, ENDING)?;
    match answers.into_iter().next() {
        Some((ToOperator::Stopped { result }, _)) => Ok(format!("{id}: ended: {result}\n")),
        Some((answer, _)) => Err(format!("{id}: the worker answers {answer:?}")),
        None => Err(found.missing().unwrap_or_else(|| {
            format!("{id}: no worker on this board has such a job; `firmware-worker jobs` lists them")
        })),
    }
}

/// One line a job.
fn table(workers: &[WorkerJobs]) -> String {
    let title = ["ID", "ROOM", "AGENT", "STATE", "AGE", "RESTARTS", "PID", "WORKER"].map(str::to_owned);
    let rows = workers.iter().flat_map(|worker| {
        worker.jobs.iter().map(|job| {
            let pid = job.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let (id, room, agent) = (plain(&job.id), plain(&job.room), plain(&worker.agent_name));
            let (state, restarts) = (plain(&job.state), job.restarts.to_string());
            [id, room, agent, state, age(job.seconds), restarts, pid, worker.worker.to_string()]
        })
    });
    let rows: Vec<_> = [title].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).fold(0, usize::max);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// Names come from the network: a terminal must not take them for its own commands.
fn plain(name: &str) -> String {
    match name {
        "" => "-".into(),
        name => name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::JobReport;

    #[test]
    fn the_list_has_a_line_for_each_job_in_columns_and_no_name_reaches_the_terminal_as_a_command() {
        let job = |id: &str, room: &str, pid| JobReport {
            id: id.into(),
            room: room.into(),
            state: "running".into(),
            pid,
            seconds: 3725,
            restarts: 2,
            ..JobReport::default()
        };
        let jobs = vec![job("AJ_1", "hall\u{1b}[2J", Some(812)), job("AJ_22", "studio", None)];
        let text = table(&[WorkerJobs { worker: 800, agent_name: "door".into(), jobs, failed: Vec::new() }]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "ID     ROOM      AGENT  STATE    AGE    RESTARTS  PID  WORKER");
        assert_eq!(lines[1], "AJ_1   hall?[2J  door   running  1h02m  2         812  800");
        assert_eq!(lines[2], "AJ_22  studio    door   running  1h02m  2         -    800");
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        let ages = [7, 67, 3_667, 90_000].map(age);
        assert_eq!(ages, ["7s", "1m07s", "1h01m", "1d01h"]);
    }
}
