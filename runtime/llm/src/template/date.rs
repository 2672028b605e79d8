//! Dates as `strftime` writes them, in UTC.

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Year, month (from 1) and day of a number of days since 1970.
fn civil(days: i64) -> (i64, usize, i64) {
    // Years begin in March here: leap days are last. 146097 days are 400 years.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day = z.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let calendar = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(calendar <= 2), calendar as usize, day - first + 1)
}

/// Formats a time in seconds since 1970. Directives that are not known stay as they are.
pub(super) fn strftime(format: &str, now: i64) -> String {
    // Beyond this, years have no four digits.
    let now = now.clamp(-62_135_596_800, 253_402_300_799);
    let (days, second) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
    let name = MONTHS[month - 1];
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let hour12 = if h % 12 == 0 { 12 } else { h % 12 };
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut c = chars.next();
        // `%-d` has no zeros in front.
        let short = c == Some('-');
        if short {
            c = chars.next();
        }
        let two = |n: i64| if short { n.to_string() } else { format!("{n:02}") };
        out += &match c {
            Some('Y') => year.to_string(),
            Some('y') => two(year.rem_euclid(100)),
            Some('m') => two(month as i64),
            Some('B') => name.to_owned(),
            Some('b' | 'h') => name[..3].to_owned(),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('w') => (days + 4).rem_euclid(7).to_string(),
            Some('j') => {
                let of_year = days - days_before(year) + 1;
                if short { of_year.to_string() } else { format!("{of_year:03}") }
            }
            Some('H') => two(h),
            Some('I') => two(hour12),
            Some('M') => two(m),
            Some('S') => two(s),
            Some('p') => if h < 12 { "AM" } else { "PM" }.to_owned(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{h:02}:{m:02}:{s:02}"),
            Some('D') => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('n') => "\n".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{}{other}", if short { "-" } else { "" }),
            None => format!("%{}", if short { "-" } else { "" }),
        };
    }
    out
}

/// Days from 1970 to the first day of a year.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let all = "%Y-%m-%d %H:%M:%S %A %a %B %b %j %I %p %y %-d %e %q %%";
        assert_eq!(strftime(all, 0), "1970-01-01 00:00:00 Thursday Thu January Jan 001 12 AM 70 1  1 %q %");
        assert_eq!(strftime("%F %T %a %j", 951_782_400 + 86_399), "2000-02-29 23:59:59 Tue 060");
        assert_eq!(strftime("%d %b %Y %I %p", 1_795_262_400), "21 Nov 2026 12 PM");
        assert_eq!(strftime("%F %A", -86_400), "1969-12-31 Wednesday");
        assert_eq!(strftime("%", i64::MAX), "%");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(-720_000);
        for d in -719_999..2_000_000 {
            let now = civil(d);
            let next_day = now.2 == last.2 + 1 && (now.0, now.1) == (last.0, last.1);
            let next_month =
                now.2 == 1 && (now.1 == last.1 + 1 && now.0 == last.0 || now.1 == 1 && now.0 == last.0 + 1);
            assert!(next_day || next_month, "{last:?} {now:?}");
            last = now;
        }
    }
}
