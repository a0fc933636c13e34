# Made by pecgate for relay journal of pecgate.comune.example. docs/groupware.md explains every line.
# Know before you run it: Exchange chooses the way by the recipient's domain only: what is marked by from, subject alone does not come to the gateway
# Know before you run it: journal: true: reports go to journal@pecgate.comune.example and are believed; Exchange delivers the messages themselves all the same, so mark what it is not to deliver by suffix or domain too, or take a connector in place of reports
# Exchange Server 2019 and Exchange Server SE: run it in the Exchange Management Shell as a member of Organization Management.
# Stop at the first error instead of going on with half a set-up.
$ErrorActionPreference = 'Stop'
# The name of all that is made, and the comment by which it is known again: what bears another is never touched.
$Name = 'pecgate journal'
$Marker = 'Made by pecgate setup exchange for relay journal'
# Addresses from which the gateway connects to Exchange.
$GatewayAddresses = @('192.0.2.30')
# The Mailbox servers that talk to the gateway; name all of them, as @('EX01', 'EX02'). relays of policy.yaml must list their addresses.
$Servers = @($env:COMPUTERNAME)

# 1. Out: what goes to these domains is handed to the gateway, over TLS, and only if it shows its certificate.
$send = @{
    AddressSpaces = @('SMTP:*.pec;1', 'SMTP:pecgate.comune.example;1')
    SmartHosts = @('pecgate.comune.example')
    DNSRoutingEnabled = $false
    Port = 25
    RequireTLS = $true
    TlsAuthLevel = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    SmartHostAuthMechanism = 'None'
    MaxMessageSize = '100MB'
    SourceTransportServers = $Servers
    ProtocolLoggingLevel = 'Verbose'
    Comment = $Marker
    Enabled = $true
}
$old = Get-SendConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-SendConnector -Name $Name -Custom @send
} elseif ($old.Comment -eq $Marker) {
    Set-SendConnector -Identity $Name @send
} else {
    throw "the send connector $Name exists and was not made by this script: rename it"
}

# 2. Back: what the gateway delivers. The connector answers its addresses only; the nearer match wins over the default one.
$receive = @{
    RemoteIPRanges = $GatewayAddresses
    Bindings = @('0.0.0.0:25')
    PermissionGroups = 'AnonymousUsers'
    AuthMechanism = 'Tls'
    RequireTLS = $true
    EightBitMimeEnabled = $true
    DeliveryStatusNotificationEnabled = $true
    MaxMessageSize = '100MB'
    ProtocolLoggingLevel = 'Verbose'
    Comment = $Marker
    Enabled = $true
}
# The account of connections without a login, in the language of this Windows.
$anonymous = (New-Object -TypeName 'System.Security.Principal.SecurityIdentifier' -ArgumentList 'S-1-5-7').Translate([System.Security.Principal.NTAccount]).Value
foreach ($server in $Servers) {
    $identity = "$server\$Name"
    $old = Get-ReceiveConnector -Server $server | Where-Object { $_.Name -eq $Name }
    if (-not $old) {
        New-ReceiveConnector -Name $Name -Server $server -TransportRole FrontendTransport -Usage Custom @receive
    } elseif ($old.Comment -eq $Marker) {
        Set-ReceiveConnector -Identity $identity @receive
    } else {
        throw "the receive connector $identity exists and was not made by this script: rename it"
    }
    # The anti-spam agents let pass what comes through this connector. A warning that the right is there already is no fault.
    Get-ReceiveConnector -Identity $identity | Add-ADPermission -User $anonymous -ExtendedRights 'Ms-Exch-Bypass-Anti-Spam'
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
Set-PecgateRule -RuleName 'pecgate journal from the gateway' -Settings $rule

# The address of the sender's PC does not leave the house.
$rule = @{
    RecipientAddressMatchesPatterns = @('\.pec$', '@pecgate\.comune\.example$')
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate journal clean header' -Settings $rule

# Rules of an earlier run that are not wanted any more, as those of users who left.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker -and $script:Rules -notcontains $_.Name } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# 4. Format of what leaves.

# Remote domains: no winmail.dat (TNEF), which makes a PEC worthless, and nothing automatic towards PEC addresses.
$remoteDomains = @{ 'pecgate journal *.pec' = '*.pec'; 'pecgate journal pecgate.comune.example' = 'pecgate.comune.example' }
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

# 5. Journal reports: what goes out or comes in is reported to the gateway, which sends as PEC what is marked.
$journal = 'journal@pecgate.comune.example'
# The address as a hidden contact to which nobody may write who is not logged in: the gateway believes what comes there.
$contact = Get-MailContact | Where-Object { $_.Name -eq 'pecgate journal journal' }
if (-not $contact) {
    New-MailContact -Name 'pecgate journal journal' -ExternalEmailAddress $journal
} elseif ("$($contact.ExternalEmailAddress)" -ne "SMTP:$journal") {
    throw 'the contact pecgate journal journal exists with another address: rename it'
}
Set-MailContact -Identity 'pecgate journal journal' -HiddenFromAddressListsEnabled $true -RequireSenderAuthenticationEnabled $true
# Reports that cannot be delivered need a mailbox of yours. It holds for the whole organisation, so this only looks.
$transport = Get-TransportConfig
if ("$($transport.JournalingReportNdrTo)" -notmatch '@.') {
    Write-Warning 'Nobody gets journal reports that cannot be delivered: Set-TransportConfig -JournalingReportNdrTo MAILBOX'
}
# Journal rules have no comment: one of this name with another address is left as it is.
$old = Get-JournalRule | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-JournalRule -Name $Name -JournalEmailAddress $journal -Scope External -Enabled $true
} elseif ("$($old.JournalEmailAddress)" -eq $journal) {
    Set-JournalRule -Identity $Name -JournalEmailAddress $journal -Scope External
} else {
    throw "the journal rule $Name exists with another address: rename it"
}

Write-Host 'Done. Test it: send a message to yourself through the gateway and look at pecgate queue list.'
