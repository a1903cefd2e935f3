package content

// A client asks the central host once, before its first file, whether anybody
// else takes part in the swarm of a module: one that is alone at the end of a
// fast link is served best by the connection that it has.
//
// GET PathCompany + module. The header HeaderCompany of the answer counts the
// others: peers of the module's packs, and clients that have asked lately. With
// 0 the body is CompanyProbe bytes, by which the client measures the link, and
// ends when somebody else comes; the client counts as one who is there as long
// as it keeps the answer open. With more there is no body.
const (
	PathCompany   = "/.prsync/v1/company/"
	HeaderCompany = "Prsync-Company"
	CompanyProbe  = 512 << 10
)
