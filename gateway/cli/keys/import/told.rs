//! What became of an import, or would become.

use serde::Serialize;

use crate::cli::failure::Advice;
use crate::cli::output::{Output, counted};
use crate::keyring::import::{Fault, Plan};

/// Faults told one by one.
const MOST_FAULTS: usize = 100;

#[derive(Serialize)]
pub struct Told {
    dry_run: bool,
    /// Or would be, in a dry run.
    pub imported: usize,
    pub already_there: usize,
    /// Of those that are imported.
    awaiting_first_use: usize,
    errors: Vec<Line>,
    /// That are not among the errors.
    more_errors: usize,
}

#[derive(Serialize)]
struct Line {
    line: u64,
    error: String,
}

impl Told {
    /// While anything is wrong nothing is imported.
    pub fn of(plan: &Plan, dry_run: bool) -> Self {
        let is_sound = plan.faults.is_empty();
        let line = |fault: &Fault| Line { line: fault.line, error: fault.says.clone() };
        Self {
            dry_run,
            imported: if is_sound { plan.new.len() } else { 0 },
            already_there: plan.already_there,
            awaiting_first_use: if is_sound { plan.awaiting_first_use() } else { 0 },
            errors: plan.faults.iter().take(MOST_FAULTS).map(line).collect(),
            more_errors: plan.faults.len().saturating_sub(MOST_FAULTS),
        }
    }

    /// Somebody else may have written some of them since they were compared.
    pub fn written(&mut self, imported: usize) {
        self.already_there += self.imported - imported;
        self.imported = imported;
    }

    /// # Errors
    /// Something is wrong with the file.
    pub fn tell(&self, output: Output) -> anyhow::Result<()> {
        let is_sound = self.errors.is_empty();
        if is_sound || output.is_json() {
            output.print(self, || self.in_words())?;
        }
        match is_sound {
            true => Ok(()),
            false => Err(self.advice().into()),
        }
    }

    fn in_words(&self) -> String {
        let would_be = if self.dry_run { "Would import" } else { "Imported" };
        let mut words = vec![format!("{would_be} {}.", counted(self.imported as u64, "key"))];
        if self.awaiting_first_use > 0 {
            words.push(format!("{} of them by a bcrypt hash: verified when the key is first used.", self.awaiting_first_use));
        }
        if self.already_there > 0 {
            words.push(format!("Left as before, already there: {}.", counted(self.already_there as u64, "key")));
        }
        words.join("\n")
    }

    fn advice(&self) -> Advice {
        let mut lines = vec!["nothing was imported:".to_owned()];
        lines.extend(self.errors.iter().map(|Line { line, error }| format!("line {line}: {error}")));
        if self.more_errors > 0 {
            lines.push(format!("and {} more", self.more_errors));
        }
        let says = lines.join("\n  ");
        Advice { says, hint: "set these lines right and import the file again; --dry-run only checks".to_owned() }
    }
}
