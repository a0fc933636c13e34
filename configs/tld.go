package configs

import "strings"

// genericTLDs are top-level domains of more than two letters that people know. Those of two letters are countries, in use
// or soon.
const genericTLDs = " com net org edu gov mil int arpa info biz name pro aero coop museum jobs mobi travel tel cat asia post app dev cloud " +
	"online email legal law srl spa house company group agency digital tech network systems software services studio work world site " +
	"website shop store blog news media live life team support solutions consulting academy school care health bank insurance finance " +
	"energy engineering construction architects immo casa moda pizza roma bio eco green ong ngo city "

// isTLD says that a word may be the last label of a domain in use.
func isTLD(s string) bool {
	return len(s) == 2 || strings.HasPrefix(s, "xn--") || strings.Contains(genericTLDs, " "+s+" ")
}
