//! What is heard where there is nothing: digital silence, or quiet noise as the sender describes it (RFC 3389, RTP-006).

use crate::config::Fill;

/// The level until the sender tells one, in -dBov.
const LEVEL: u8 = 65;
/// Spectral coefficients that are followed.
const ORDER: usize = 10;

/// A source of noise; silent unless told to fill with noise.
#[derive(Debug)]
pub struct ComfortNoise {
    fill: Fill,
    state: u32,
    /// Greatest magnitude of what goes into the filter.
    amplitude: f32,
    reflections: [f32; ORDER],
    order: usize,
    /// The filter's memory.
    delayed: [f32; ORDER + 1],
}

impl ComfortNoise {
    /// A source that repeats from `seed`.
    #[must_use]
    pub fn new(fill: Fill, seed: u32) -> Self {
        let mut noise =
            Self { fill, state: seed, amplitude: 0.0, reflections: [0.0; ORDER], order: 0, delayed: [0.0; ORDER + 1] };
        noise.describe(&[LEVEL]);
        noise
    }

    /// Follows the payload of a comfort noise packet: the level, then reflection coefficients (RFC 3389, 3). An empty one
    /// changes nothing.
    pub fn describe(&mut self, payload: &[u8]) {
        let Some((level, coefficients)) = payload.split_first() else { return };
        self.order = coefficients.len().min(ORDER);
        // What is left of a filter's input at its output, so that the level is that of the noise heard.
        let mut left = 1.0;
        for (reflection, octet) in self.reflections.iter_mut().zip(coefficients) {
            *reflection = (258.0 * (f32::from(*octet) - 127.0) / 32_768.0).clamp(-0.98, 0.98);
            left *= 1.0 - *reflection * *reflection;
        }
        let rms = 32_768.0 * 10_f32.powf(f32::from(level & 0x7F) / -20.0);
        // Of numbers spread evenly the greatest is √3 times the root mean square.
        self.amplitude = (rms * left.sqrt() * 3_f32.sqrt()).min(f32::from(i16::MAX));
        self.delayed = [0.0; ORDER + 1];
    }

    /// Appends `samples` samples to `out`.
    pub fn fill(&mut self, samples: usize, out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start + samples, 0);
        if self.fill == Fill::Noise {
            self.replace(&mut out[start..]);
        }
    }

    /// Puts silence, or noise, in the place of `audio`.
    pub fn replace(&mut self, audio: &mut [i16]) {
        match self.fill {
            Fill::Silence => audio.fill(0),
            Fill::Noise => audio.iter_mut().for_each(|sample| *sample = self.next_sample() as i16),
        }
    }

    fn next_sample(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let random = f32::from((self.state >> 16) as i16) / 32_768.0;
        let mut forward = random * self.amplitude;
        for n in (0..self.order).rev() {
            forward -= self.reflections[n] * self.delayed[n];
            self.delayed[n + 1] = self.delayed[n] + self.reflections[n] * forward;
        }
        self.delayed[0] = forward;
        forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(audio: &[i16]) -> f64 {
        let power = audio.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / audio.len() as f64;
        20.0 * (power.sqrt() / 32_768.0).log10()
    }

    #[test]
    fn rtp_006_the_level_is_the_senders_with_and_without_a_spectrum() {
        for (payload, expected) in [(&[40][..], -40.0), (&[50, 200, 90], -50.0), (&[30, 20, 230, 127, 60], -30.0)] {
            let mut noise = ComfortNoise::new(Fill::Noise, 7);
            noise.describe(payload);
            let mut out = Vec::new();
            noise.fill(16_000, &mut out);
            assert!((level(&out) - expected).abs() < 1.0, "{payload:?}: {} dBov", level(&out));
        }
    }

    #[test]
    fn rtp_006_a_positive_first_coefficient_is_a_high_sound_and_a_negative_one_a_low() {
        let crossings = |coefficient: u8| {
            let mut noise = ComfortNoise::new(Fill::Noise, 7);
            noise.describe(&[30, coefficient]);
            let mut out = Vec::new();
            noise.fill(8000, &mut out);
            out.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count()
        };
        assert!(crossings(20) < 3000 && crossings(127) > 3500 && crossings(230) > 5000);
    }

    #[test]
    fn rtp_007_by_default_there_is_digital_silence_and_noise_before_the_first_level_is_quiet() {
        let (mut silent, mut noisy) = (ComfortNoise::new(Fill::Silence, 1), ComfortNoise::new(Fill::Noise, 1));
        let mut out = vec![5; 3];
        silent.describe(&[20]);
        silent.fill(160, &mut out);
        assert_eq!((out.len(), &out[..4]), (163, &[5, 5, 5, 0][..]));
        noisy.replace(&mut out);
        assert!(out.iter().all(|sample| sample.abs() < 100) && out.iter().any(|sample| *sample != 0));
    }

    #[test]
    fn no_payload_makes_it_louder_than_a_sample_can_be() {
        let mut noise = ComfortNoise::new(Fill::Noise, 3);
        for payload in [&[][..], &[0], &[0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255], &[255; 200]] {
            noise.describe(payload);
            let mut out = Vec::new();
            noise.fill(4000, &mut out);
            assert_eq!(out.len(), 4000);
        }
    }
}
