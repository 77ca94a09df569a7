//! What a server says of itself at /metrics.
//! Knows the text format: lines of a series and a number.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All of it.
pub(crate) fn metrics(http: SocketAddr) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&http, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().map_err(|error| format!("http://{http}/metrics: {error}"))
}

/// The number of a series, which is named with its labels.
pub(crate) fn figure(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(series))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// The upper bound of the histogram's bucket in which this share (0 to 1) of all is reached, with how many there are.
/// Infinite when the last bucket is needed; `None` when nothing was measured.
pub(crate) fn quantile(text: &str, histogram: &str, share: f64) -> Option<(f64, f64)> {
    let begins = format!("{histogram}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let (bound, rest) = line.strip_prefix(&begins)?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, rest.split(' ').next()?.parse().ok()?))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    buckets.into_iter().find(|(_, below)| *below >= count * share).map(|(bound, _)| (bound, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let text = "tandem_pool_ports_busy_max{pool=\"main\"} 9\ntandem_pool_ports_busy{pool=\"main\"} 7\n";
        assert_eq!(figure(text, "tandem_pool_ports_busy{pool=\"main\"}"), Some(7.0));
        assert_eq!(figure(text, "tandem_pool_ports_busy"), None);
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let text =
            "h_bucket{le=\"0.01\"} 90\nh_bucket{le=\"0.1\"} 99 # {a=\"b\"} 1\nh_bucket{le=\"+Inf\"} 100\n";
        assert_eq!(quantile(text, "h", 0.5), Some((0.01, 100.0)));
        assert_eq!(quantile(text, "h", 0.99), Some((0.1, 100.0)));
        assert_eq!(quantile(text, "h", 1.0), Some((f64::INFINITY, 100.0)));
        assert_eq!(quantile(text, "other", 0.5), None);
    }
}
