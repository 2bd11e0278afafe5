//! Numbers as miners write them: hash rates, difficulties, luck and waiting times.

use std::time::Duration;

/// A rate for people, in three digits or so.
pub(in crate::cli) fn hash_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} GH/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} MH/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kH/s", rate / 1e3),
        rate => format!("{rate:.0} H/s"),
    }
}

/// A difficulty in three digits: 1e-3, 0.125, 512, 1.50k, 15.0k, 2.10M, 3.20G.
pub(in crate::cli) fn difficulty(difficulty: f64) -> String {
    // Rounded first, so that 999,950 is 1.00M and not 1000k.
    let rounded: f64 = format!("{difficulty:.2e}").parse().unwrap_or(difficulty);
    match rounded {
        small if small < 0.01 && small != 0.0 => format!("{small:e}"),
        small if small < 1e3 => small.to_string(),
        large => {
            let units = [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"), (1e18, "E")];
            match units.into_iter().find(|(unit, _)| large / unit < 999.5) {
                Some((unit, name)) => {
                    let scaled = large / unit;
                    let digits = if scaled >= 99.95 { 0 } else { 1 + usize::from(scaled < 9.995) };
                    format!("{scaled:.digits$}{name}")
                }
                None => format!("{large:e}"), // also what is no number
            }
        }
    }
}

/// Luck in per cent of what is to be expected.
pub(in crate::cli) fn luck(luck: f64) -> String {
    format!("{:.0} %", luck * 100.0)
}

/// A waiting time in its two largest units, like `3h 12m`.
pub(in crate::cli) fn wait(seconds: f64) -> String {
    /// Beyond that, nobody asks for the number.
    const FOREVER: f64 = 1000.0 * 365.25 * 24.0 * 3600.0;
    match seconds {
        seconds if seconds < 1.0 => "less than a second".to_owned(),
        seconds if seconds < FOREVER => {
            let whole = humantime::format_duration(Duration::from_secs(seconds as u64)).to_string();
            whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
        }
        _ => "more than 1000 years".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficulties_have_three_digits_and_a_unit() {
        for (number, text) in [
            (0.0, "0"),
            (1e-3, "1e-3"),
            (4.6566e-10, "4.66e-10"),
            (0.0099999, "0.01"),
            (0.125, "0.125"),
            (1.0, "1"),
            (1.0000152, "1"),
            (65.536, "65.5"),
            (512.0, "512"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1500.0, "1.50k"),
            (16_307.42, "16.3k"),
            (150_000.0, "150k"),
            (999_950.0, "1.00M"),
            (2.1e6, "2.10M"),
            (3.2e9, "3.20G"),
            (1.1e14, "110T"),
            (7.5e15, "7.50P"),
            (1e18, "1.00E"),
            (1e21, "1e21"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(difficulty(number), text, "{number}");
        }
    }

    #[test]
    fn waiting_times_have_two_units() {
        for (seconds, text) in [
            (0.2, "less than a second"),
            (59.9, "59s"),
            (11_520.0, "3h 12m"),
            (86_401.0, "1day 1s"),
            (4e8, "12years 8months"),
            (1e30, "more than 1000 years"),
            (f64::INFINITY, "more than 1000 years"),
            (f64::NAN, "more than 1000 years"),
        ] {
            assert_eq!(wait(seconds), text, "{seconds}");
        }
        assert_eq!((luck(1.034), luck(0.0)), ("103 %".to_owned(), "0 %".to_owned()));
    }
}
