"""The engines behind the rooms' protocols. Only the gateway's start-up names one."""
