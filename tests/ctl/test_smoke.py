from ctl.running import Ctl


def test_look(ctl: Ctl) -> None:
    """Look."""
    for args in (["config","get"],["config","get","server.port"],["config","explain"],["config","get","--provenance"],["config","history"],["config","show","2"],["config","diff","1"],["config","diff","1","--pointers"],["config","set","server.port","99","-m","x y"],["config","set","server.port","99"],["config","set","server.port","99999"],["config","set","providers.1.name","z","--dry-run"],["config","set","providers.7.name","z"],["config","unset","server.port"],["config","rollback","1","--yes"],["config","status"],["config","reload"],["config","namespaces"],["config","schema"],["status"],["version"],["config","get","nope"],["config","get","-n","nope"],["config","show","77"],["config","get","a..b"],["config","history","-o","yaml"],["config","get","--expected"],["config", "rollback","1"],["config","set","a",'{"x"'],["config","set","a",'null'], ["confg"], ["--address","unix:/nope/x.sock","status"],["--address","nope","status"], ["--address","127.0.0.1:1","status"]):
        r = ctl(*args)
        print("$", " ".join(args)); print(r.stdout, end=""); print(r.stderr, end=""); print("=>", r.exit_code, repr(r.exception) if not isinstance(r.exception,(SystemExit,type(None))) else "")
