//! `trials.csv`: every trial, in order.

use super::super::Results;
use super::super::statistics::MeasureKind;

/// Its bytes: cell, trial, seed, each measure by name, digest. What a trial did not measure is empty; what happened is 1, and a fraction has six decimals.
pub(super) fn write(results: &Results) -> Vec<u8> {
    let columns = results.columns();
    let mut bytes = vec![];
    let names = columns.iter().map(|column| column.name.as_str());
    line(&mut bytes, ["cell", "trial", "seed"].into_iter().chain(names).chain(["digest"]));
    for (index, (cell, result)) in results.experiment.cells.iter().zip(&results.cells).enumerate() {
        let places: Vec<_> = columns
            .iter()
            .map(|column| result.columns().iter().position(|own| own.name == column.name))
            .collect();
        for row in result.rows() {
            let value =
                |place: &Option<usize>| place.and_then(|place| row.values.get(place).copied().flatten());
            let values = columns.iter().zip(&places).map(|(column, place)| text(column.kind, value(place)));
            let begin = [cell.name.clone(), row.trial.to_string()];
            let seed = results.experiment.trial_seed(index, row.trial).to_string();
            let end = format!("{:016x}", row.digest);
            line(&mut bytes, begin.into_iter().chain([seed]).chain(values).chain([end]));
        }
    }
    bytes
}

fn text(kind: MeasureKind, value: Option<i64>) -> String {
    match (kind, value) {
        (_, None) => String::new(),
        (MeasureKind::Happened | MeasureKind::Count, Some(value)) => value.to_string(),
        (MeasureKind::Millionths, Some(value)) => {
            let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
            format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000)
        }
    }
}

/// Appends a line, quoted where it must be.
pub(super) fn line<T: AsRef<[u8]>>(bytes: &mut Vec<u8>, fields: impl Iterator<Item = T>) {
    csv::Writer::from_writer(bytes).write_record(fields).expect("memory takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact() {
        for (value, expected) in
            [(1, "0.000001"), (-1, "-0.000001"), (1_500_000, "1.500000"), (0, "0.000000")]
        {
            assert_eq!(text(MeasureKind::Millionths, Some(value)), expected);
        }
        assert_eq!(text(MeasureKind::Count, None), "");
    }
}
