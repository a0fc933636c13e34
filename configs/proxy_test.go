package configs

import (
	"fmt"
	"strings"
	"testing"
)

func TestProxyProtocol(t *testing.T) {
	config := house(t)
	for _, c := range []struct{ from, want, fault string }{
		{`[192.0.2.10/32, "2001:db8::/64", 192.0.2.7, "::ffff:192.0.2.8"]`, "[192.0.2.10/32 2001:db8::/64 192.0.2.7/32 192.0.2.8/32]", ""},
		{`[]`, "[]", ""},
		{`[balancer]`, "", `from: needs the network or address of a load balancer, like 192.0.2.10/32, not "balancer"`},
		{`[192.0.2.10/33]`, "", `from: needs the network or address of a load balancer, like 192.0.2.10/32, not "192.0.2.10/33"`},
		{`[192.0.2.0/24, 0.0.0.0/0]`, "", `from: "0.0.0.0/0" holds nearly every address: name the load balancers only`},
		{`["::/0"]`, "", `from: "::/0" holds nearly every address: name the load balancers only`},
		{`[192.0.2.10/24]`, "", `from: "192.0.2.10/24" has bits behind the network: write 192.0.2.0/24`},
		{`["fe80::1%eth0"]`, "", `from: needs the network or address of a load balancer, like 192.0.2.10/32, not "fe80::1%eth0"`},
	} {
		write(t, config, goodAppliance+"proxy_protocol: {from: "+c.from+"}\n", 0o644)
		l, err := Load(config)
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.from, err)
		case c.fault == "":
			if got := fmt.Sprint(l.Appliance.ProxyProtocol.Networks()); got != c.want {
				t.Errorf("%s: %s", c.from, got)
			}
		case err == nil || !strings.Contains(err.Error(), c.fault):
			t.Errorf("%s: %v, want %s", c.from, err, c.fault)
		}
	}
}
