"""Packages of the wheel. Profiles, examples and units lie at the top of the tree, where people look
for them, and travel inside the package, where an installation finds them."""

from setuptools import find_packages, setup

CARRIED = {
    "edgespike.firmware_profiles": "firmware_profiles",
    "edgespike.config_examples": "config",
    "edgespike.systemd": "systemd",
}

setup(
    packages=[*find_packages(include=["edgespike", "edgespike.*"]), *CARRIED],
    package_dir=CARRIED,
)
