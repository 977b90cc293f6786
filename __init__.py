"""WavFlow for ComfyUI: sound for video and text, made directly as a waveform."""

import importlib.util

# The help pages of the nodes, under web/docs.
WEB_DIRECTORY = "./web"

# Outside of ComfyUI, as when tests are collected, this folder is no more than a folder.
if importlib.util.find_spec("comfy_api") is not None:
    from comfy_api.v0_0_2 import ComfyExtension, io

    class WavFlowExtension(ComfyExtension):
        """What ComfyUI asks for the nodes of this pack."""

        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            """All nodes, imported only now."""
            from .nodes import NODES
            from .nodes.folders import register_folders

            register_folders()
            return NODES

    async def comfy_entrypoint() -> ComfyExtension:
        """What ComfyUI calls when it loads this pack."""
        return WavFlowExtension()
