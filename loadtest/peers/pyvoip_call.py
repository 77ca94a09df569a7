"""pyVoIP, an independent stack in Python: registers with digest, calls, listens, hangs up, un-registers.

    pyvoip_call.py SERVER_PORT USER PASSWORD CALLED OWN_PORT

Ends with 0 when the call was answered and something was heard.
"""
import sys
import time

from pyVoIP.VoIP import CallState, PhoneStatus, VoIPPhone

PATIENCE = 30.0


def until(what, is_so):
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > PATIENCE:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.05)


def main():
    server, user, password, called, own = sys.argv[1:]
    own = int(own)
    phone = VoIPPhone(
        "127.0.0.1", int(server), user, password, myIP="127.0.0.1", sipPort=own,
        rtpPortLow=own + 2, rtpPortHigh=own + 8,
    )
    phone.start()
    try:
        until("the registration", lambda: phone.get_status() == PhoneStatus.REGISTERED)
        print("registered", flush=True)
        call = phone.call(called)
        until("the answer", lambda: call.state == CallState.ANSWERED)
        print("answered", flush=True)
        heard = 0
        begun = time.monotonic()
        while heard < 50 and time.monotonic() - begun < PATIENCE:
            # Its samples have eight bits; 128 is silence.
            frame = call.read_audio(160, blocking=True)
            heard += any(abs(sample - 128) > 8 for sample in frame)
        print(f"heard {heard} frames", flush=True)
        call.hangup()
        time.sleep(1)
    finally:
        phone.stop()
    sys.exit(0 if heard >= 50 else "heard nothing")


main()
