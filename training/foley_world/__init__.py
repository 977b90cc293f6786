"""FoleyWorld: short clips with sound and known truth, made by rules from a seed.

Things fall, bounce, roll, are struck, drip or hum; what is heard follows from what is seen. Needs
``pymunk`` (motion), ``pillow`` (pictures) and ``tqdm`` beside what WavFlow needs.
"""
