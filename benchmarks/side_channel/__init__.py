"""The attacker: can a program that sees everything a browser sees, but no pixels, tell the altered image?"""
