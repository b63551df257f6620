"""What this installation chooses: YAML -> frozen typed settings, every error at once."""

from __future__ import annotations

from edgespike.config.broker import Broker, Tls
from edgespike.config.channels import ChannelSettings, SensorSource, channel_matches
from edgespike.config.daemon import (
    DEFAULT_BOARD,
    DEFAULT_SENSORS,
    Address,
    Config,
    LoggingSettings,
    LogLevel,
    ModelSettings,
    credentials,
    default_node,
    default_state_dir,
    load_address,
    load_config,
    load_standing_in,
)
from edgespike.config.dialogues import DialogueSettings
from edgespike.config.edge_ai import EdgeAiSettings
from edgespike.config.homeassistant import HomeAssistantSettings
from edgespike.config.prometheus import Endpoint, PrometheusSettings
from edgespike.config.prompts import ContextSettings, GroundingMode, PromptSettings
from edgespike.config.triggers import Trigger

__all__ = [
    "DEFAULT_BOARD",
    "DEFAULT_SENSORS",
    "Address",
    "Broker",
    "ChannelSettings",
    "Config",
    "ContextSettings",
    "DialogueSettings",
    "EdgeAiSettings",
    "Endpoint",
    "GroundingMode",
    "HomeAssistantSettings",
    "LogLevel",
    "LoggingSettings",
    "ModelSettings",
    "PrometheusSettings",
    "PromptSettings",
    "SensorSource",
    "Tls",
    "Trigger",
    "channel_matches",
    "credentials",
    "default_node",
    "default_state_dir",
    "load_address",
    "load_config",
    "load_standing_in",
]
