# Made by pecgate for relay header of pecgate.comune.example. docs/groupware.md explains every line.
# Know before you run it: every customer of Microsoft 365 connects from the same addresses with the same certificate, so any of them could name your users: make a secret with pecgate password --secret and write it as secret_header: of the relay
# Microsoft 365: run it in PowerShell with the module ExchangeOnlineManagement, after Connect-ExchangeOnline, as an Exchange administrator.
# Stop at the first error instead of going on with half a set-up.
$ErrorActionPreference = 'Stop'
# The name of all that is made, and the comment by which it is known again: what bears another is never touched.
$Name = 'pecgate header'
$Marker = 'Made by pecgate setup m365 for relay header'
# Public addresses from which the gateway connects to Microsoft 365.
$GatewayAddresses = @('198.51.100.7')

# 1. Out: the connector carries only what a mail-flow rule gives it, over TLS, and only if the gateway shows its certificate.
$outbound = @{
    ConnectorType = 'OnPremises'
    IsTransportRuleScoped = $true
    UseMXRecord = $false
    SmartHosts = @('pecgate.comune.example')
    TlsSettings = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-OutboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-OutboundConnector -Name $Name @outbound
} elseif ($old.Comment -eq $Marker) {
    Set-OutboundConnector -Identity $Name @outbound
} else {
    throw "the outbound connector $Name exists and was not made by this script: rename it"
}

# 2. Back: what comes from the gateway's addresses is ours, and must come over TLS.
$inbound = @{
    ConnectorType = 'OnPremises'
    SenderDomains = @('*')
    SenderIPAddresses = $GatewayAddresses
    RequireTls = $true
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-InboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-InboundConnector -Name $Name @inbound
} elseif ($old.Comment -eq $Marker) {
    Set-InboundConnector -Identity $Name @inbound
} else {
    throw "the inbound connector $Name exists and was not made by this script: rename it"
}

# 3. Mail-flow rules.

# Makes a mail-flow rule, or sets the one of this name anew if it is ours.
function Set-PecgateRule {
    param([string]$RuleName, [hashtable]$Settings)
    $old = Get-TransportRule | Where-Object { $_.Name -eq $RuleName }
    if (-not $old) {
        New-TransportRule -Name $RuleName -Comments $Marker @Settings
    } elseif ($old.Comments -eq $Marker) {
        Set-TransportRule -Identity $RuleName @Settings
    } else {
        throw "the mail-flow rule $RuleName exists and was not made by this script: rename it"
    }
    $script:Rules += $RuleName
}
# Names of the rules that belong here; what an earlier run made beyond them is removed at the end.
$script:Rules = @()

# Mail that comes from the gateway: no disclaimer, no spam filter. A signed envelope that is changed is worth nothing.
# It is the first rule and the last one for these messages, so that no other rule adds text.
$rule = @{
    SenderIpRanges = $GatewayAddresses
    SetSCL = -1
    StopRuleProcessing = $true
    Priority = 0
}
Set-PecgateRule -RuleName 'pecgate header from the gateway' -Settings $rule

# The field that names the user is taken away from every message, whoever wrote it ...
$rule = @{
    RemoveHeader = 'X-Pecgate-User-7f3a91c2'
    Priority = 1
}
Set-PecgateRule -RuleName 'pecgate header identity strip' -Settings $rule
# ... and set for those who may write a PEC. InOrganization: only over an authenticated connection.
$identities = @(
    @{ Rule = 'pecgate header user mario'; Email = 'mario.rossi@comune.example'; Login = 'mario' }
    @{ Rule = 'pecgate header user sean'; Email = 'sean.o''brien@comune.example'; Login = 'sean' }
)
foreach ($person in $identities) {
    $rule = @{
        From = $person.Email
        FromScope = 'InOrganization'
        SenderAddressLocation = 'Header'
        SetHeaderName = 'X-Pecgate-User-7f3a91c2'
        SetHeaderValue = $person.Login
        Priority = 2
    }
    Set-PecgateRule -RuleName $person.Rule -Settings $rule
}

# What is marked goes out through the connector: one rule for each mark, only for people who are logged in.
# The address of the sender's PC is taken away.
$rule = @{
    FromAddressMatchesPatterns = @('^protocollo@pec\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by from' -Settings $rule
$rule = @{
    SubjectMatchesPatterns = @('\[\s*PEC\s*(\]|:)')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by subject' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('\.pec$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by suffix' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('@pecgate\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by replies' -Settings $rule

# Rules of an earlier run that are not wanted any more, as those of users who left.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker -and $script:Rules -notcontains $_.Name } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# 4. Format of what leaves.

# Remote domains: no winmail.dat (TNEF), which makes a PEC worthless, and nothing automatic towards PEC addresses.
$remoteDomains = @{ 'pecgate header *.pec' = '*.pec'; 'pecgate header pecgate.comune.example' = 'pecgate.comune.example' }
$remote = @{
    TNEFEnabled = $false
    AllowedOOFType = 'None'
    AutoReplyEnabled = $false
    AutoForwardEnabled = $false
    DeliveryReportEnabled = $false
    NDREnabled = $false
    MeetingForwardNotificationEnabled = $false
}
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    # Remote domains have no comment: one that somebody else made for the same domain is left as it is.
    $other = Get-RemoteDomain | Where-Object { "$($_.DomainName)" -eq $domain -and $_.Name -ne $key }
    if ($other) {
        throw "the remote domain $($other.Name) for $domain was not made by this script: set its TNEFEnabled to false or remove it"
    }
    if (-not (Get-RemoteDomain | Where-Object { $_.Name -eq $key })) {
        New-RemoteDomain -Name $key -DomainName $domain
    }
    Set-RemoteDomain -Identity $key @remote
}

# Other recipients follow the remote domain Default. It is not ours and stays as it is; this only looks.
$default = Get-RemoteDomain -Identity 'Default'
if ($default.TNEFEnabled -ne $false) {
    Write-Warning 'Messages in rich text may leave with winmail.dat, and the gateway refuses them. To send none: Set-RemoteDomain -Identity Default -TNEFEnabled $false'
}

Write-Host 'Done. Test it: send a message to yourself through the gateway.'
