from tests.providers.simulator.fixtures import new_simulator, simulator, simulator_process

__all__ = ["new_simulator", "simulator", "simulator_process"]
