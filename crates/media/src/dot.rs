//! The product of two stretches of a signal: how alike they are, or how strong one is.
//! Does not know which.

/// Sums that do not wait for each other: one alone takes ten times as long, as each addition needs the one before.
const SUMS: usize = 8;

/// The sum of the products of each with its counterpart; what the longer one has more is not looked at.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let both = a.len().min(b.len());
    let ((a, a_rest), (b, b_rest)) = (a[..both].as_chunks::<SUMS>(), b[..both].as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_counts_once_whatever_the_length() {
        for length in 0..40 {
            let a: Vec<f32> = (1..=length).map(|n| n as f32).collect();
            let squares = (1..=length).map(|n| n * n).sum::<i32>() as f32;
            assert!((dot(&a, &a) - squares).abs() < f32::EPSILON, "{length}");
        }
        assert!((dot(&[2.0; 11], &[3.0; 30]) - 66.0).abs() < f32::EPSILON);
    }
}
