"""WavFlow: sound for video and text, made directly as a waveform."""
